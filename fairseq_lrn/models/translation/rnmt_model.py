"""Translation model ``lrn_rnmt``: the model of Zhang and Sennrich (2019).

Source: the authors' toolkit (bzhangGo/zero, ``models/deepnmt.py``). For the layout ``paper``: their
release with the paper (bzhangGo/lrn, ``mt/deepnmt.py``).
"""

from typing import Dict, List, Optional, Tuple

import torch
from fairseq.models import register_model
from torch import Tensor, nn

from fairseq_lrn.models.base import (
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentModel,
    model_options,
)
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.modules import RecurrentStack
from fairseq_lrn.modules.affine import NORM_EPS, Affine, is_standard_norm, map_parameters
from fairseq_lrn.modules.cells import Cell
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.fingerprint import derived
from fairseq_lrn.modules.hooks import has_own_methods, is_plain
from fairseq_lrn.modules.linear import Linear, repack_changed_weights
from fairseq_lrn.modules.output_table import plain_output_table
from fairseq_lrn.modules.rnmt_layers import (
    AlignedDecoderLayer,
    AttentiveDecoderLayer,
    ContextAwareEncoderLayer,
    PlainDecoderLayer,
    RNMTDecoderLayer,
    RNMTEncoderLayer,
)
from fairseq_lrn.modules.search import SearchState
from fairseq_lrn.ops import RNMTBeamSearch, has_decoder_step


@register_model("lrn_rnmt", dataclass=RNMTConfig)
class RNMTModel(RecurrentModel):
    """The paper's recurrent encoder-decoder (``--arch lrn_rnmt``).

    The encoder is context-aware. The first decoder layer has two cells that share one state, with
    attention between them. Every layer has layer norm and a residual connection.
    """

    @classmethod
    def build_model(cls, cfg: RNMTConfig, task) -> "RNMTModel":
        """Build a model for a task with ``source_dictionary`` and ``target_dictionary``.

        Raises:
            ValueError: an option has an invalid value or conflicts with another.
        """
        cfg = model_options(RNMTConfig, cfg, task, keep_first_layer=True)
        src_dict, tgt_dict = task.source_dictionary, task.target_dictionary
        encoder_embedding = nn.Embedding(len(src_dict), cfg.embed_dim, src_dict.pad())
        if cfg.share_all_embeddings:
            decoder_embedding = encoder_embedding
        else:
            decoder_embedding = nn.Embedding(len(tgt_dict), cfg.embed_dim, tgt_dict.pad())
        # Both languages share this bias.
        embed_bias = nn.Parameter(torch.zeros(cfg.embed_dim))
        encoder = RNMTEncoder(cfg, src_dict, encoder_embedding, embed_bias)
        decoder = RNMTDecoder(cfg, tgt_dict, decoder_embedding, embed_bias, encoder.final_size)
        model = cls(encoder, decoder)
        model.reset_parameters(cfg.init_scale)
        return model.follow_task(task)

    @torch.no_grad()
    def reset_parameters(self, scale: float) -> None:
        """Initialise like the authors: weights uniform in +- *scale*, biases 0, layer norm 1 and 0.

        The bias of the embeddings counts as a weight.
        """
        nn.init.uniform_(self.encoder.embed_bias, -scale, scale)
        for module in self.modules():
            if isinstance(module, (Affine, nn.Linear, nn.Embedding)):
                nn.init.uniform_(module.weight, -scale, scale)
            if isinstance(module, (Affine, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, Cell):  # vectors, as SRU has
                for vector in module.parameters(recurse=False):
                    nn.init.uniform_(vector, -scale, scale)


class RNMTEncoder(RecurrentEncoder):
    """A stack of recurrent layers. The first is context-aware or bidirectional, the rest forward.

    Args:
        cfg: options.
        dictionary: source dictionary.
        embed_tokens: source embedding.
        embed_bias: added to every embedding, ``E``.
    """

    def __init__(
        self, cfg: RNMTConfig, dictionary, embed_tokens: nn.Embedding, embed_bias: nn.Parameter
    ):
        super().__init__(dictionary, cfg.max_source_positions)
        self.embed_tokens = embed_tokens
        self.embed_bias = embed_bias
        self.dropout_module = Dropout(cfg.dropout, module_name=self.__class__.__name__)
        options = {**layer_options(cfg), "output_size": cfg.layout_size}
        if cfg.no_context_aware_encoder:
            first = RNMTEncoderLayer(cfg.embed_dim, bidirectional=True, **options)
        else:
            first = ContextAwareEncoderLayer(cfg.embed_dim, **options)
        upper = [RNMTEncoderLayer(cfg.layout_size, **options) for _ in range(1, cfg.encoder_layers)]
        self.layers = RecurrentStack([first, *upper])
        self.hidden_size = cfg.hidden_size
        self.final_size = self.layers[-1].final_size
        if cfg.layout_size != cfg.hidden_size:
            # The authors normalise here even if no other part of the model has layer norm.
            self.memory_proj = nn.Sequential(
                Linear(cfg.layout_size, cfg.hidden_size),
                nn.LayerNorm(cfg.hidden_size, eps=NORM_EPS),
            )
        else:
            self.memory_proj = nn.Identity()

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
    ) -> Dict[str, List[Tensor]]:
        """
        Args:
            src_tokens: source tokens, ``B x S``, padded on either side.
            src_lengths: not used; part of fairseq's interface.
            return_all_hiddens: return the output of every layer, too.

        Returns:
            ``encoder_out`` ``[S x B x H]``; ``encoder_padding_mask`` ``[B x S]``, true at padding;
            ``encoder_state`` ``[B x Z]``, the final output of the last layer's recurrence;
            ``encoder_states``, the output of every layer, ``S x B x C`` each, if requested;
            ``src_tokens`` ``[B x S]``; ``src_lengths`` ``[B x 1]``.
        """
        if not torch.jit.is_scripting():
            repack_changed_weights(self)
        padding_mask = src_tokens.eq(self.padding_idx)  # B x S
        # B x S x E to S x B x E
        x = self.dropout_module(self.embed_tokens(src_tokens) + self.embed_bias).transpose(0, 1)
        x, final_states, encoder_states = self.layers(x, None, padding_mask.t(), return_all_hiddens)
        # D x B x H to B x D*H
        final_output = final_states[-1][..., : self.hidden_size].transpose(0, 1).flatten(1)
        lengths = (~padding_mask).sum(dim=1, dtype=torch.int32).unsqueeze(1)  # B x 1
        return {
            "encoder_out": [self.memory_proj(x)],
            "encoder_padding_mask": [padding_mask],
            "encoder_state": [final_output],
            "encoder_states": encoder_states,
            "src_tokens": [src_tokens],
            "src_lengths": [lengths],
        }


class RNMTDecoder(RecurrentDecoder):
    """A stack of recurrent layers. The first attends to the source, the rest read its contexts.

    A vector of zeros replaces the embedding of the first token of every sentence.

    Args:
        cfg: options.
        dictionary: target dictionary.
        embed_tokens: target embedding.
        embed_bias: added to every embedding, ``E``.
        final_size: width of the encoder's final state.
    """

    def __init__(
        self,
        cfg: RNMTConfig,
        dictionary,
        embed_tokens: nn.Embedding,
        embed_bias: nn.Parameter,
        final_size: int,
    ):
        super().__init__(dictionary, cfg.max_target_positions, hypothesis_dim=0)
        self.embed_tokens = embed_tokens
        self.embed_bias = embed_bias
        self.dropout_module = Dropout(cfg.dropout, module_name=self.__class__.__name__)
        options = {
            **layer_options(cfg),
            "memory_size": cfg.hidden_size,
            "final_size": final_size,
            "output_size": cfg.layout_size,
        }
        self.layers = nn.ModuleList()
        for index in range(cfg.decoder_layers):
            width = cfg.embed_dim if index == 0 else cfg.layout_size
            if index == 0 or cfg.deep_attention:
                layer = AttentiveDecoderLayer(width, attention_heads=cfg.attention_heads, **options)
            elif cfg.no_context_aware_encoder:
                layer = PlainDecoderLayer(width, **options)
            else:
                layer = AlignedDecoderLayer(width, **options)
            self.layers.append(layer)
        self.has_feature_layer = not cfg.no_feature_layer
        if self.has_feature_layer:
            self.feature_proj = Affine(
                cfg.layout_size + cfg.hidden_size,
                cfg.embed_dim,
                norm=None if cfg.no_layer_norm else "layer",
            )
        else:
            self.feature_proj = nn.Identity()
        self.output_projection = Linear(cfg.embed_dim, len(dictionary), bias=False)
        if cfg.share_all_embeddings or cfg.share_decoder_input_output_embed:
            self.output_projection.weight = embed_tokens.weight
        extra = torch.zeros(len(dictionary), dtype=torch.bool)
        if cfg.mask_extra_symbols:
            for index, token in enumerate(dictionary.symbols):
                extra[index] = index == dictionary.bos() or token.startswith("madeupword")
        self.masks_extra_symbols = cfg.mask_extra_symbols
        self.register_buffer("extra_symbols", extra, persistent=False)  # V

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """Like :meth:`forward`, with features ``B x T x E`` in place of logits."""
        assert encoder_out is not None, "encoder_out is missing"
        memory = encoder_out["encoder_out"][0]
        memory_padding_mask = encoder_out["encoder_padding_mask"][0]
        final_state = encoder_out["encoder_state"][0]

        cached = self.cached_tensors(incremental_state)
        num_seen = 0
        has_begun: Optional[Tensor] = None
        if cached is None:
            if not torch.jit.is_scripting():
                repack_changed_weights(self)
            cached = torch.jit.annotate(Dict[str, Optional[Tensor]], {})
            for index, layer in enumerate(self.layers):
                cached[f"state{index}"] = layer.initial_state(final_state)
                cached[f"keys{index}"] = layer.keys(memory)
        else:
            num_seen = self.num_seen(cached, prev_output_tokens)
            has_begun = cached["has_begun"]
        tokens = prev_output_tokens[:, num_seen:]  # B x T, the new positions
        is_token = tokens.ne(self.padding_idx)
        # Padding may be on either side, so the first token need not be at the first position.
        is_first = is_token & is_token.cumsum(dim=1).eq(1)
        time_mask: Optional[Tensor] = (~is_token).t()  # B x T to T x B
        if has_begun is not None:
            is_first = is_first & ~has_begun.unsqueeze(1)
            # The authors' search can generate padding, and reads it like any other token. Only
            # padding in front is carried over.
            is_in_front = ~(has_begun.unsqueeze(1) | is_token.cumsum(dim=1).gt(0))
            time_mask = is_in_front.t() if bool(is_in_front.any()) else None
        x = self.embed_tokens(tokens) + self.embed_bias  # B x T x E
        x = x.masked_fill(is_first.unsqueeze(-1), 0.0)
        x = self.dropout_module(x).transpose(0, 1)  # B x T x E to T x B x E

        context: Optional[Tensor] = None
        attn: Optional[Tensor] = None
        updated: Dict[str, Optional[Tensor]] = {}
        for index, layer in enumerate(self.layers):
            state, keys = cached[f"state{index}"], cached[f"keys{index}"]
            assert state is not None
            x, context, new_state, weights = layer(
                x, context, state, memory, memory_padding_mask, keys, time_mask
            )
            updated[f"state{index}"] = new_state
            updated[f"keys{index}"] = keys
            if weights is not None:
                attn = weights
        if incremental_state is not None:
            begins = is_token.any(dim=1)  # B
            updated["has_begun"] = begins if has_begun is None else has_begun | begins
            self.cache(incremental_state, updated, num_seen + x.size(0))
        x = self._features(x, context)
        if attn is not None:
            # T x B x S x heads to B x T x S; contiguous, because fairseq's criterion views it
            attn = attn.mean(-1).transpose(0, 1).contiguous() if self.returns_attn() else None
        return x.transpose(0, 1), {"attn": [attn]}  # T x B x E to B x T x E

    def _features(self, x: Tensor, context: Optional[Tensor]) -> Tensor:
        """Features ``T x B x E`` from the last layer's output and contexts, ``T x B x ...``."""
        if self.has_feature_layer:
            assert context is not None
            x = torch.cat([x, context], dim=-1)  # T x B x C and T x B x H to T x B x C+H
            x = torch.tanh(self.feature_proj(x))  # T x B x E
            x = self.dropout_module(x)
        return x

    @torch.jit.unused
    def start_search(self, encoder_out: Dict[str, List[Tensor]]) -> SearchState:
        """See :class:`~fairseq_lrn.modules.search.SearchableDecoder`."""
        repack_changed_weights(self)
        memory, final_state = encoder_out["encoder_out"][0], encoder_out["encoder_state"][0]
        padding_mask = encoder_out["encoder_padding_mask"][0]
        keys = [layer.keys(memory) for layer in self.layers]
        state = SearchState(
            [layer.initial_state(final_state) for layer in self.layers],
            # B x S x M to S x B x M
            [memory, *(one.transpose(0, 1) for one in keys if one is not None)],
            padding_mask if bool(padding_mask.any()) else None,
        )
        if not self.training and has_decoder_step(memory):
            if has_own_methods(self, RNMTDecoder, "search_step", "output_layer"):
                state.fused_search = derived(self, self._fused_search)  # which calls neither
        return state

    @torch.jit.unused
    def _fused_search(self) -> Optional[RNMTBeamSearch]:
        """The whole search in one operator; None if it would not do what :meth:`search_step` does.

        That is so if a part is replaced or has hooks, if tokens are masked, or if dropout stays
        active.
        """
        parts = (self.embed_tokens, self.output_projection, self.feature_proj, self.dropout_module)
        classes = [nn.Embedding, Linear, Affine if self.has_feature_layer else nn.Identity, Dropout]
        if not all(isinstance(layer, RNMTDecoderLayer) for layer in self.layers):
            return None
        layers = [layer.search_parameters() for layer in self.layers]
        if (
            None in layers
            or self.masks_extra_symbols
            or [type(part) for part in parts] != classes
            or self.dropout_module.is_active()
            or not is_plain(*parts, *self.feature_proj.modules())
            or not all(map(is_standard_norm, getattr(self.feature_proj, "norms", ())))
            or self.embed_tokens.weight.dtype != torch.float32
            or self.embed_tokens.weight.shape != self.output_projection.weight.shape
        ):
            return None
        table, attention = self.embed_tokens.weight, self.layers[0].recurrence.attention
        feature = map_parameters("feature", self.feature_proj) if self.has_feature_layer else {}
        return RNMTBeamSearch(
            layers,
            feature,
            attention.num_heads,
            self.layers[0].recurrence.lower.activation,
            NORM_EPS,
            attention.masked_score,
            table,
            self.embed_bias,
            self.output_projection.fastest_weight(may_be_padded=True),
        )

    @torch.jit.unused
    def search_step(self, tokens: Tensor, state: SearchState) -> Tensor:
        """See :class:`~fairseq_lrn.modules.search.SearchableDecoder`.

        Features and logits have the data type in which the output layer multiplies.
        """
        x = self.embed_tokens(tokens.view(1, -1)) + self.embed_bias  # 1 x W*B x E
        if state.is_start:
            x = torch.zeros_like(x)
        state.is_start = False
        x = self.dropout_module(x)
        memory, *remaining = state.memory
        keys = iter(remaining)
        context: Optional[Tensor] = None
        for index, layer in enumerate(self.layers):
            # S x B x M to B x S x M
            own = next(keys).transpose(0, 1) if layer.attends else None
            x, context, state.recurrent[index], _ = layer(
                x, context, state.recurrent[index], memory, state.padding_mask, own, None
            )
        x = self._features(x, context)[0]
        if not isinstance(self.output_projection, Linear):  # replaced by the user
            return x
        return x.to(self.output_projection.product_dtype(x.device.type))

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x E``."""
        logits = self.output_projection(features)
        if self.masks_extra_symbols:
            logits = logits.masked_fill(self.extra_symbols, float("-inf"))
        return logits

    @torch.jit.unused
    def output_table(self) -> Tuple[Optional[Tensor], str]:
        """See :class:`RecurrentDecoder`."""
        if self.masks_extra_symbols:
            return None, "the model masks tokens (--mask-extra-symbols)"
        return plain_output_table(self, RNMTDecoder.output_layer, self.output_projection)

    @torch.jit.unused
    def masked_tokens(self) -> Optional[Tensor]:
        """See :class:`RecurrentDecoder`."""
        return self.extra_symbols if self.masks_extra_symbols else None


def layer_options(cfg: RNMTConfig) -> Dict[str, object]:
    """The arguments that all encoder and decoder layers share."""
    layer_norm = not cfg.no_layer_norm
    return {
        "cell": str(cfg.cell),
        "hidden_size": cfg.hidden_size,
        "activation": str(cfg.activation_fn),
        # The authors' input projections have no bias of their own. Layer norm adds one, its shift.
        "bias": layer_norm,
        "norm": "layer" if layer_norm else None,
        "dropout": cfg.dropout,
        "layer_norm": layer_norm,
    }
