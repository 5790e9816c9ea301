"""Translation model ``lrn``: a bidirectional LRN encoder and an LRN decoder with attention."""

from typing import Dict, List, Optional, Tuple

import torch
from fairseq.models import register_model
from torch import Tensor, nn

from fairseq_lrn.models.ablations import layer_parts
from fairseq_lrn.models.adaptive_softmax import build_adaptive_softmax
from fairseq_lrn.models.base import (
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentModel,
    model_options,
)
from fairseq_lrn.models.decoder_parts import (
    build_output_projection,
    embedding_scale,
    recurrence_options,
)
from fairseq_lrn.models.embedding import build_embeddings
from fairseq_lrn.models.translation.lrn_config import LRNConfig, LRNDecoderConfig
from fairseq_lrn.modules import LRNDecoderLayer, LRNEncoderLayer, RecurrentStack
from fairseq_lrn.modules.cells import Cell, LRNCell
from fairseq_lrn.modules.dropout import Dropout, WordDropout
from fairseq_lrn.modules.fingerprint import derived
from fairseq_lrn.modules.hooks import has_own_methods, is_plain
from fairseq_lrn.modules.layers import build_decoder_step, build_encoder_pass
from fairseq_lrn.modules.linear import (
    Linear,
    Packable,
    may_use_packed_weights,
    repack_changed_weights,
)
from fairseq_lrn.modules.output_table import plain_output_table
from fairseq_lrn.modules.search import SearchState
from fairseq_lrn.ops import BeamSearch, DecoderStep, EncoderPass, has_decoder_step


@register_model("lrn", dataclass=LRNConfig)
class LRNModel(RecurrentModel):
    """LRN encoder-decoder (``--arch lrn``).

    In training, all projections, the attention and the output layer process all target positions
    at once. Only the element-wise recurrence of the cell runs position by position.

    Source: Zhang and Sennrich (2019), section 3, for the cell. The layers around the cell are this
    project's own design.
    """

    @classmethod
    def build_model(cls, cfg: LRNConfig, task) -> "LRNModel":
        """Build a model for a task with ``source_dictionary`` and ``target_dictionary``.

        Raises:
            ValueError: an option has an invalid value or conflicts with another.
        """
        cfg = model_options(LRNConfig, cfg, task)
        src_dict, tgt_dict = task.source_dictionary, task.target_dictionary
        source, target = build_embeddings(cfg, src_dict, tgt_dict)
        return cls(
            LRNEncoder(cfg, src_dict, source),
            LRNDecoder(cfg, tgt_dict, target, encoder_state_size=2 * cfg.encoder_hidden_size),
        ).follow_task(task)

    @torch.jit.unused
    def export_unavailable_reason(self) -> str:
        """See :class:`RecurrentModel`."""
        if self.decoder.adaptive_softmax is not None:
            return "a model with adaptive softmax does not support it"
        cells = [module for module in self.modules() if isinstance(module, Cell)]
        if any(type(cell) is not LRNCell for cell in cells):
            return "only the cells lrn and olrn support it; train a model with one of them"
        return ""


class LRNEncoder(RecurrentEncoder):
    """A stack of :class:`~fairseq_lrn.modules.LRNEncoderLayer`.

    Args:
        cfg: options.
        dictionary: source dictionary.
        embed_tokens: source embedding, of width ``cfg.encoder_embed_dim``.
    """

    def __init__(self, cfg: LRNConfig, dictionary, embed_tokens: nn.Embedding):
        super().__init__(dictionary, cfg.max_source_positions)
        self.hidden_size = cfg.encoder_hidden_size
        self.embed_tokens = embed_tokens
        self.embed_scale = embedding_scale(cfg, embed_tokens)
        self.word_dropout = WordDropout(cfg.word_dropout, module_name=self.__class__.__name__)
        self.dropout_in = Dropout(
            cfg.dropout_probability("encoder_dropout_in"),
            cfg.locked_dropout,
            self.__class__.__name__,
        )
        parts = layer_parts(cfg.ablation)
        self.layers = RecurrentStack(
            LRNEncoderLayer(
                cfg.encoder_embed_dim,
                cfg.encoder_hidden_size,
                ffn_dim=cfg.encoder_ffn_embed_dim,
                dropout=cfg.dropout_probability("encoder_dropout_out"),
                locked_dropout=cfg.locked_dropout,
                normalize_before=cfg.encoder_normalize_before,
                parts=parts,
                **recurrence_options(cfg),
            )
            for _ in range(cfg.encoder_layers)
        )
        self.layer_norm = (
            nn.LayerNorm(cfg.encoder_embed_dim) if cfg.encoder_normalize_before else nn.Identity()
        )

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
            ``encoder_out`` ``[S x B x C]``; ``encoder_padding_mask`` ``[B x S]``, true at padding;
            ``encoder_state`` ``[B x 2H]``, the final outputs of the last layer's recurrence,
            forward then backward; ``encoder_states``, the output of every layer, ``S x B x C``
            each, if requested; ``src_tokens`` ``[B x S]``; ``src_lengths`` ``[B x 1]``.
        """
        if not torch.jit.is_scripting():
            repack_changed_weights(self)
        padding_mask = src_tokens.eq(self.padding_idx)  # B x S
        # B x S to S x B x C
        x = self.embed_scale * self.word_dropout(self.embed_tokens(src_tokens.t()))
        x = self.dropout_in(x)
        encoded: Optional[Tuple[Tensor, Tensor]] = None
        if not (torch.jit.is_scripting() or return_all_hiddens):
            encoded = self._encode_in_one_call(x, padding_mask)
        encoder_states: List[Tensor] = []
        if encoded is None:
            x, final_states, encoder_states = self.layers(
                x, None, padding_mask.t(), return_all_hiddens
            )
            final_output = final_states[-1][..., : self.hidden_size]  # 2 x B x H
            state = torch.cat([final_output[0], final_output[1]], dim=-1)  # B x 2H
        else:
            x, state = encoded
        x = self.layer_norm(x)
        lengths = (~padding_mask).sum(dim=1, dtype=torch.int32).unsqueeze(1)  # B x 1
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [padding_mask],
            "encoder_state": [state],
            "encoder_states": encoder_states,
            "src_tokens": [src_tokens],
            "src_lengths": [lengths],
        }

    @torch.jit.unused
    def _encode_in_one_call(
        self, x: Tensor, padding_mask: Tensor
    ) -> Optional[Tuple[Tensor, Tensor]]:
        """The layers' output ``S x B x C`` and final states ``B x 2H``, in generation on a CPU.

        Args:
            x: embeddings, ``S x B x C``.
            padding_mask: ``B x S``, true at padding.

        Returns:
            output and states, or None if the layers have to be called.
        """
        if self.training or not may_use_packed_weights() or not has_decoder_step(x):
            return None
        encoder_pass = derived(self, self._fuse)
        if encoder_pass is None or x.numel() == 0:
            return None
        return encoder_pass(x, padding_mask.t())  # B x S to S x B

    @torch.jit.unused
    def _fuse(self) -> Optional[EncoderPass]:
        # Between bfloat16 products, the layers keep bfloat16, and the fused pass would not.
        weights = [part for part in self.layers.modules() if isinstance(part, Packable)]
        if any(part.fastest_weight().dtype == torch.bfloat16 for part in weights):
            return None
        return build_encoder_pass(self.layers)


class LRNDecoder(RecurrentDecoder):
    """A stack of :class:`~fairseq_lrn.modules.LRNDecoderLayer`, which attend to the source.

    Args:
        cfg: options.
        dictionary: target dictionary.
        embed_tokens: target embedding, of width ``cfg.decoder_embed_dim``.
        encoder_state_size: width of the encoder's final state, or of its output if the encoder
            returns no final state.

    Raises:
        ValueError: a cutoff of adaptive softmax exceeds the size of the dictionary.
    """

    def __init__(
        self,
        cfg: LRNDecoderConfig,
        dictionary,
        embed_tokens: nn.Embedding,
        encoder_state_size: int,
    ):
        super().__init__(dictionary, cfg.max_target_positions)
        self.embed_tokens = embed_tokens
        self.embed_scale = embedding_scale(cfg, embed_tokens)
        self.word_dropout = WordDropout(cfg.word_dropout, module_name=self.__class__.__name__)
        self.dropout_in = Dropout(
            cfg.dropout_probability("decoder_dropout_in"),
            cfg.locked_dropout,
            self.__class__.__name__,
        )
        parts = layer_parts(cfg.ablation)
        self.layers = RecurrentStack(
            LRNDecoderLayer(
                cfg.decoder_embed_dim,
                cfg.decoder_hidden_size,
                encoder_embed_dim=(
                    cfg.encoder_embed_dim if parts.attends(index, cfg.decoder_layers) else None
                ),
                encoder_state_size=encoder_state_size,
                attention_heads=cfg.decoder_attention_heads,
                attention_dropout=cfg.attention_dropout,
                ffn_dim=cfg.decoder_ffn_embed_dim,
                dropout=cfg.dropout_probability("decoder_dropout_out"),
                locked_dropout=cfg.locked_dropout,
                normalize_before=cfg.decoder_normalize_before,
                parts=parts,
                **recurrence_options(cfg),
            )
            for index in range(cfg.decoder_layers)
        )
        self.layer_norm = (
            nn.LayerNorm(cfg.decoder_embed_dim) if cfg.decoder_normalize_before else nn.Identity()
        )
        if cfg.adaptive_softmax_cutoff is None:
            self.output_projection = build_output_projection(cfg, embed_tokens, len(dictionary))
        else:
            self.adaptive_softmax = build_adaptive_softmax(cfg, embed_tokens, len(dictionary))
            # fairseq's loss for adaptive softmax takes features instead of logits.
            self.output_projection = nn.Identity()

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """Like :meth:`forward`, with features ``B x T x C`` in place of logits."""
        assert encoder_out is not None, "encoder_out is missing"
        memory = encoder_out["encoder_out"][0]
        memory_padding_mask = encoder_out["encoder_padding_mask"][0]

        cached = self.cached_tensors(incremental_state)
        num_seen = 0
        if cached is None:
            if not torch.jit.is_scripting():
                repack_changed_weights(self)
            cached = torch.jit.annotate(Dict[str, Optional[Tensor]], {})
            states = self.initial_states(encoder_out)
            projected = self.layers.project_memory(memory)
            for index, tensor in enumerate(projected):
                cached[f"memory{index}"] = tensor  # S x B x C
        else:
            num_seen = self.num_seen(cached, prev_output_tokens)
            states = _numbered(cached, "state", len(self.layers))
            projected = _numbered(cached, "memory", 2 * len(self.layers))
        tokens = prev_output_tokens[:, num_seen:]  # B x T, the new positions

        # B x T to T x B x C
        x = self.embed_scale * self.word_dropout(self.embed_tokens(tokens.t()))
        x = self.dropout_in(x)
        x, new_states, attn = self.layers.attend(
            x,
            states,
            projected,
            memory_padding_mask,
            tokens.eq(self.padding_idx).t(),  # B x T to T x B
            self.returns_attn(),
        )
        for index, state in enumerate(new_states):
            cached[f"state{index}"] = state  # 1 x B x state_size
        self.cache(incremental_state, cached, num_seen + tokens.size(1))
        x = self.layer_norm(x)
        return x.transpose(0, 1), {"attn": [attn]}  # T x B x C to B x T x C

    def initial_states(self, encoder_out: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The initial state of each layer, ``1 x B x state_size``."""
        if "encoder_state" in encoder_out:
            encoder_state = encoder_out["encoder_state"][0]
        else:
            encoder_state = mean_over_time(
                encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
            )
        return [layer.state_from_encoder(encoder_state) for layer in self.layers]

    @torch.jit.unused
    def project_memory(self, memory: Tensor) -> List[Tensor]:
        """See :meth:`fairseq_lrn.modules.RecurrentStack.project_memory`."""
        return self.layers.project_memory(memory)

    @torch.jit.unused
    def start_search(self, encoder_out: Dict[str, List[Tensor]]) -> SearchState:
        """See :class:`~fairseq_lrn.modules.search.SearchableDecoder`."""
        repack_changed_weights(self)
        padding_mask = encoder_out["encoder_padding_mask"][0]
        state = SearchState(
            # 1 x B x state_size to B x state_size
            [initial[0] for initial in self.initial_states(encoder_out)],
            self.project_memory(encoder_out["encoder_out"][0]),
            padding_mask if bool(padding_mask.any()) else None,
        )
        if not self.training and has_decoder_step(state.recurrent[0]):
            state.fused_step, search = derived(self, self._fuse)
            if has_own_methods(self, LRNDecoder, "search_step", "output_layer"):
                state.fused_search = search  # which calls neither
        return state

    @torch.jit.unused
    def _fuse(self) -> Tuple[Optional[DecoderStep], Optional[BeamSearch]]:
        """The fused step and the fused search, as far as they can replace the layers."""
        step = build_decoder_step(self.layers)
        return step, self._fused_search(step)

    @torch.jit.unused
    def _fused_search(self, step: Optional[DecoderStep]) -> Optional[BeamSearch]:
        """The whole search in one operator; None if it would not do what :meth:`search_step` does.

        That is so if a part is replaced or has hooks, or if dropout stays active.
        """
        parts = (self.embed_tokens, self.layer_norm, self.output_projection)
        dropouts = (self.word_dropout, self.dropout_in)
        if (
            step is None
            or [type(part) for part in parts]
            not in ([nn.Embedding, kind, Linear] for kind in (nn.LayerNorm, nn.Identity))
            or [type(part) for part in dropouts] != [WordDropout, Dropout]
            or any(part.is_active() for part in dropouts)
            or not is_plain(*parts, *dropouts)
            or self.embed_tokens.weight.dtype != torch.float32
            or self.embed_tokens.weight.shape != self.output_projection.weight.shape
        ):
            return None
        norm = self.layer_norm if isinstance(self.layer_norm, nn.LayerNorm) else None
        output = self.output_projection.fastest_weight(may_be_padded=True)
        return BeamSearch(step, self.embed_tokens.weight, self.embed_scale, norm, output)

    @torch.jit.unused
    def search_step(self, tokens: Tensor, state: SearchState) -> Tensor:
        """See :class:`~fairseq_lrn.modules.search.SearchableDecoder`.

        Features and logits have the data type in which the output layer multiplies. For an output
        layer in bfloat16, float32 logits would not be more accurate.
        """
        x = self.embed_scale * self.word_dropout(self.embed_tokens(tokens))  # W x B x C
        x = self.dropout_in(x)
        if state.fused_step is None:
            x, state.recurrent = self.layers.step(
                x, state.recurrent, state.memory, state.padding_mask
            )
            x = x.view(-1, x.size(2))  # W x B x C to W*B x C
        else:
            flat = x.view(-1, x.size(2))  # W x B x C to W*B x C
            x, state.recurrent = state.fused_step(
                flat, state.recurrent, state.memory, state.padding_mask
            )
        x = self.layer_norm(x)
        if isinstance(self.output_projection, Linear):
            x = x.to(self.output_projection.product_dtype(x.device.type))
        return x

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x C``. Adaptive softmax keeps the features."""
        return self.output_projection(features)

    @torch.jit.unused
    def output_table(self) -> Tuple[Optional[Tensor], str]:
        """See :class:`RecurrentDecoder`."""
        return plain_output_table(self, LRNDecoder.output_layer, self.output_projection)


def _numbered(cached: Dict[str, Optional[Tensor]], name: str, number: int) -> List[Tensor]:
    """The tensors ``name0``, ``name1`` and so on, of the given number."""
    tensors: List[Tensor] = []
    for index in range(number):
        tensor = cached[f"{name}{index}"]
        assert tensor is not None
        tensors.append(tensor)
    return tensors


def mean_over_time(memory: Tensor, padding_mask: Tensor) -> Tensor:
    """The mean ``B x C`` of the memory ``S x B x C`` over the positions that are not padding.

    Args:
        memory: encoder output, ``S x B x C``.
        padding_mask: ``B x S``, true at padding.
    """
    kept = (~padding_mask).t().unsqueeze(-1).to(memory.dtype)  # B x S to S x B x 1
    return (memory * kept).sum(0) / kept.sum(0).clamp(min=1.0)
