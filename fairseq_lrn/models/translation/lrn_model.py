"""Translation model ``lrn``: a bidirectional LRN encoder and an LRN decoder with attention."""

import math
from typing import Dict, List, Optional, Tuple

import torch
from fairseq.models import register_model
from fairseq.modules import AdaptiveSoftmax
from torch import Tensor, nn

from fairseq_lrn.models.ablations import layer_parts
from fairseq_lrn.models.base import (
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentModel,
    model_options,
)
from fairseq_lrn.models.embedding import build_embeddings
from fairseq_lrn.models.translation.lrn_config import LRNConfig, LRNDecoderConfig
from fairseq_lrn.modules import LRNDecoderLayer, LRNEncoderLayer, RecurrentStack
from fairseq_lrn.modules.cells import Cell, LRNCell
from fairseq_lrn.modules.dropout import Dropout, WordDropout
from fairseq_lrn.modules.layers import build_decoder_step
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.output_table import plain_output_table
from fairseq_lrn.modules.search import SearchState
from fairseq_lrn.ops import has_decoder_step


@register_model("lrn", dataclass=LRNConfig)
class LRNModel(RecurrentModel):
    """LRN encoder-decoder (``--arch lrn``).

    During training every projection, the attention and the output layer run over all
    target positions at once; only the element-wise recurrence steps through time.

    The cell is that of Zhang and Sennrich (2019), section 3; the layout of the layers is
    this project's own.
    """

    @classmethod
    def build_model(cls, cfg: LRNConfig, task) -> "LRNModel":
        """Build a model for a task with ``source_dictionary`` and ``target_dictionary``.

        Raises:
            ValueError: an option has a value that cannot be, or does not go with another.
        """
        cfg = model_options(LRNConfig, cfg, task)
        src_dict, tgt_dict = task.source_dictionary, task.target_dictionary
        source, target = build_embeddings(cfg, src_dict, tgt_dict)
        return cls(
            LRNEncoder(cfg, src_dict, source),
            LRNDecoder(cfg, tgt_dict, target, encoder_state_size=2 * cfg.encoder_hidden_size),
        )

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
    """Stack of bidirectional LRN layers.

    Args:
        cfg: options.
        dictionary: source dictionary.
        embed_tokens: source embedding.
    """

    def __init__(self, cfg: LRNConfig, dictionary, embed_tokens: nn.Embedding):
        super().__init__(dictionary, cfg.max_source_positions)
        self.hidden_size = cfg.encoder_hidden_size
        self.embed_tokens = embed_tokens
        self.embed_scale = embedding_scale(cfg, embed_tokens)
        self.word_dropout = WordDropout(cfg.word_dropout, module_name=self.__class__.__name__)
        self.dropout_in = Dropout(
            cfg.dropout_of("encoder_dropout_in"), cfg.locked_dropout, self.__class__.__name__
        )
        parts = layer_parts(cfg.ablation)
        self.layers = RecurrentStack(
            LRNEncoderLayer(
                cfg.encoder_embed_dim,
                cfg.encoder_hidden_size,
                ffn_dim=cfg.encoder_ffn_embed_dim,
                dropout=cfg.dropout_of("encoder_dropout_out"),
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
            src_tokens: ``B x S``, padded on either side; padding is recognised by its index.
            src_lengths: ``B``; not used, part of fairseq's interface.
            return_all_hiddens: also return the output of every layer.

        Returns:
            ``encoder_out`` ``[S x B x C]``, ``encoder_padding_mask`` ``[B x S]`` (true at
            padding), ``encoder_state`` ``[B x 2H]`` (final outputs of the last layer's recurrence,
            forward then backward), ``encoder_states`` (``S x B x C`` each, if asked for),
            ``src_tokens`` ``[B x S]`` and ``src_lengths`` ``[B x 1]``.
        """
        padding_mask = src_tokens.eq(self.padding_idx)
        # S x B x C
        x = self.embed_scale * self.word_dropout(self.embed_tokens(src_tokens.t()))
        x = self.dropout_in(x)
        x, final_states, encoder_states = self.layers(x, None, padding_mask.t(), return_all_hiddens)
        final_output = final_states[-1][..., : self.hidden_size]  # 2 x B x H
        x = self.layer_norm(x)
        lengths = (~padding_mask).sum(dim=1, dtype=torch.int32).unsqueeze(1)
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [padding_mask],
            "encoder_state": [torch.cat([final_output[0], final_output[1]], dim=-1)],
            "encoder_states": encoder_states,
            "src_tokens": [src_tokens],
            "src_lengths": [lengths],
        }


class LRNDecoder(RecurrentDecoder):
    """Stack of LRN layers, each followed by attention over the source.

    Args:
        cfg: options.
        dictionary: target dictionary.
        embed_tokens: target embedding.
        encoder_state_size: width of the encoder's final state, or of its output if the encoder
            returns no final state.
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
            cfg.dropout_of("decoder_dropout_in"), cfg.locked_dropout, self.__class__.__name__
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
                dropout=cfg.dropout_of("decoder_dropout_out"),
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
        self.output_projection = self.build_output_projection(cfg, dictionary)

    def build_output_projection(self, cfg: LRNDecoderConfig, dictionary) -> nn.Module:
        """The projection from features to logits; an identity with adaptive softmax.

        fairseq's loss for adaptive softmax takes features.
        """
        if cfg.adaptive_softmax_cutoff is not None:
            if cfg.adaptive_softmax_cutoffs()[-1] > len(dictionary):
                raise ValueError(
                    f"--adaptive-softmax-cutoff {cfg.adaptive_softmax_cutoff} goes beyond the "
                    f"{len(dictionary)} words of the dictionary: lower it"
                )
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary),
                cfg.decoder_embed_dim,
                cfg.adaptive_softmax_cutoffs(),
                dropout=cfg.adaptive_softmax_dropout,
                factor=cfg.adaptive_softmax_factor,
            )
            return nn.Identity()
        projection = Linear(cfg.decoder_embed_dim, len(dictionary), bias=False)
        if cfg.share_all_embeddings or cfg.share_decoder_input_output_embed:
            projection.weight = self.embed_tokens.weight
        else:
            nn.init.normal_(projection.weight, std=cfg.decoder_embed_dim**-0.5)
        return projection

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """As :meth:`forward`, but returns features ``B x T x C``."""
        assert encoder_out is not None, "the LRN decoder attends to an encoder"
        memory = encoder_out["encoder_out"][0]
        memory_padding_mask = encoder_out["encoder_padding_mask"][0]

        cached = self.get_incremental_state(incremental_state, "recurrence")
        states: List[Tensor] = []
        projected: List[Tensor] = []
        num_seen = 0
        if cached is None:
            states = self.initial_states(encoder_out)
            projected = self.layers.project_memory(memory)
        else:
            cached_states, cached_memory = cached["states"], cached["memory"]
            num_steps = cached["num_steps"]
            assert cached_states is not None and cached_memory is not None
            assert num_steps is not None
            states = list(cached_states.unsqueeze(1).unbind(0))  # 1 x B x state_size each
            projected = list(cached_memory.unbind(0))
            # A caller may pass the whole prefix, as fairseq does, or the new token alone.
            num_seen = min(int(num_steps.item()), prev_output_tokens.size(1) - 1)
        tokens = prev_output_tokens[:, num_seen:]

        # T x B x C
        x = self.embed_scale * self.word_dropout(self.embed_tokens(tokens.t()))
        x = self.dropout_in(x)
        x, new_states, attn = self.layers.attend(
            x,
            states,
            projected,
            memory_padding_mask,
            tokens.eq(self.padding_idx).t(),
            self.need_attn and not self.training,
        )
        if incremental_state is not None:
            recurrence: Dict[str, Optional[Tensor]] = {
                "states": torch.cat(new_states),  # L x B x state_size
                "memory": torch.stack(projected) if cached is None else cached["memory"],
                # On the CPU: reading it must not wait for a GPU.
                "num_steps": torch.tensor(num_seen + tokens.size(1)),
            }
            self.set_incremental_state(incremental_state, "recurrence", recurrence)
        x = self.layer_norm(x)
        return x.transpose(0, 1), {"attn": [attn]}  # B x T x C

    def initial_states(self, encoder_out: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The layers' initial states, ``1 x B x state_size`` each."""
        if "encoder_state" in encoder_out:
            encoder_state = encoder_out["encoder_state"][0]
        else:
            encoder_state = mean_over_time(
                encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
            )
        return [layer.state_from_encoder(encoder_state) for layer in self.layers]

    @torch.jit.unused
    def project_memory(self, memory: Tensor) -> List[Tensor]:
        """Keys and values of each attending layer, ``S x B x C``, from the memory ``S x B x E``."""
        return self.layers.project_memory(memory)

    @torch.jit.unused
    def start_search(self, encoder_out: Dict[str, List[Tensor]]) -> SearchState:
        """The state of one hypothesis per sentence, before its first token.

        Args:
            encoder_out: the encoder's result.
        """
        padding_mask = encoder_out["encoder_padding_mask"][0]
        state = SearchState(
            [initial[0] for initial in self.initial_states(encoder_out)],
            self.project_memory(encoder_out["encoder_out"][0]),
            padding_mask if bool(padding_mask.any()) else None,
        )
        if not self.training and has_decoder_step(state.recurrent[0]):
            state.fused_step = build_decoder_step(self.layers)
        return state

    @torch.jit.unused
    def search_step(self, tokens: Tensor, state: SearchState) -> Tensor:
        """Features ``W*B x C`` after the newest tokens ``W x B``; updates *state*.

        The features have the type in which the output layer multiplies, so the logits have it,
        too: float32 logits of a projection in bfloat16 would be no more exact.
        """
        x = self.embed_scale * self.word_dropout(self.embed_tokens(tokens))  # W x B x C
        x = self.dropout_in(x)
        if state.fused_step is not None:
            x, state.recurrent = state.fused_step(
                x.view(-1, x.size(2)), state.recurrent, state.memory, state.padding_mask
            )
            return self._for_output(x)
        x, state.recurrent = self.layers.step(x, state.recurrent, state.memory, state.padding_mask)
        return self._for_output(x.view(-1, x.size(2)))

    @torch.jit.unused
    def _for_output(self, x: Tensor) -> Tensor:
        """The input of the output layer, ``N x C``."""
        x = self.layer_norm(x)
        if isinstance(self.output_projection, Linear):
            x = x.to(self.output_projection.product_dtype(x.device.type))
        return x

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x C``; with adaptive softmax, the features."""
        return self.output_projection(features)

    @torch.jit.unused
    def output_table(self) -> Tuple[Optional[Tensor], str]:
        """See :class:`RecurrentDecoder`."""
        return plain_output_table(self, LRNDecoder.output_layer, self.output_projection)

    @torch.jit.export
    def reorder_incremental_state(
        self,
        incremental_state: Dict[str, Dict[str, Optional[Tensor]]],
        new_order: Tensor,
    ) -> Optional[Dict[str, Dict[str, Optional[Tensor]]]]:
        """Select hypotheses in the recurrent states and the projected memory."""
        cached = self.get_incremental_state(incremental_state, "recurrence")
        if cached is not None:
            states, memory = cached["states"], cached["memory"]
            assert states is not None and memory is not None
            cached["states"] = states.index_select(1, new_order)  # L x B x state_size
            cached["memory"] = memory.index_select(2, new_order)  # 2L x S x B x C
            self.set_incremental_state(incremental_state, "recurrence", cached)
        return incremental_state


def mean_over_time(memory: Tensor, padding_mask: Tensor) -> Tensor:
    """The mean ``B x C`` of the memory ``S x B x C``, without padding (mask ``B x S``)."""
    kept = (~padding_mask).t().unsqueeze(-1).to(memory.dtype)  # S x B x 1
    return (memory * kept).sum(0) / kept.sum(0).clamp(min=1.0)


def embedding_scale(cfg: LRNDecoderConfig, embed_tokens: nn.Embedding) -> float:
    """The factor by which embeddings are multiplied, as in fairseq's transformer."""
    return 1.0 if cfg.no_scale_embedding else math.sqrt(embed_tokens.embedding_dim)


def recurrence_options(cfg: LRNDecoderConfig) -> Dict[str, object]:
    """The arguments of :class:`~fairseq_lrn.modules.RecurrentLayer` that the options give."""
    return {
        "cell": str(cfg.cell),
        "activation": str(cfg.activation_fn),
        "bias": not cfg.no_projection_bias,
        "norm": "layer" if cfg.layernorm_projection else None,
    }
