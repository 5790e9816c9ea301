"""Translation model ``lrn``: a bidirectional LRN encoder and an LRN decoder with attention."""

import math
from typing import Dict, List, Optional, Tuple

import torch
from fairseq.models import register_model
from fairseq.modules import AdaptiveSoftmax
from torch import Tensor, nn

from fairseq_lrn.models.base import (
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentModel,
    SearchState,
    model_options,
)
from fairseq_lrn.models.translation.lrn_config import LRNConfig, LRNDecoderConfig
from fairseq_lrn.models.embedding import build_embeddings
from fairseq_lrn.modules import LRNDecoderLayer, LRNEncoderLayer
from fairseq_lrn.modules.affine import NORM_EPS
from fairseq_lrn.modules.dropout import Dropout, WordDropout
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.ops import has_decoder_step, lrn_decoder_step


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


class LRNEncoder(RecurrentEncoder):
    """Stack of bidirectional LRN layers.

    Args:
        cfg: options.
        dictionary: source dictionary.
        embed_tokens: source embedding.
    """

    def __init__(self, cfg: LRNConfig, dictionary, embed_tokens: nn.Embedding):
        super().__init__(dictionary, cfg.max_source_positions)
        self.embed_tokens = embed_tokens
        self.embed_scale = embedding_scale(cfg, embed_tokens)
        self.word_dropout = WordDropout(cfg.word_dropout, module_name=self.__class__.__name__)
        self.dropout_in = Dropout(
            cfg.dropout_of("encoder_dropout_in"), cfg.locked_dropout, self.__class__.__name__
        )
        self.layers = nn.ModuleList(
            LRNEncoderLayer(
                cfg.encoder_embed_dim,
                cfg.encoder_hidden_size,
                ffn_dim=cfg.encoder_ffn_embed_dim,
                dropout=cfg.dropout_of("encoder_dropout_out"),
                locked_dropout=cfg.locked_dropout,
                normalize_before=cfg.encoder_normalize_before,
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
            src_tokens: ``B x S``. Padding is recognised by its id, on either side.
            src_lengths: ``B``; not needed, there for fairseq's interface.
            return_all_hiddens: also return the output of every layer.

        Returns:
            ``encoder_out`` ``[S x B x C]``, ``encoder_padding_mask`` ``[B x S]`` (true at
            padding), ``encoder_state`` ``[B x 2H]`` (final outputs of the last layer's recurrence,
            forward then backward), ``encoder_states`` (``S x B x C`` each, if asked for),
            ``src_tokens`` ``[B x S]`` and ``src_lengths`` ``[B x 1]``.
        """
        padding_mask = src_tokens.eq(self.padding_idx)
        x = self.embed_scale * self.word_dropout(self.embed_tokens(src_tokens.t()))
        x = self.dropout_in(x)
        time_mask = padding_mask.t()
        encoder_states: List[Tensor] = []
        final_state = x.new_zeros(0)
        for layer in self.layers:
            x, final_state = layer(x, time_mask)
            if return_all_hiddens:
                encoder_states.append(x)
        x = self.layer_norm(x)
        lengths = (~padding_mask).sum(dim=1, dtype=torch.int32).unsqueeze(1)
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [padding_mask],
            "encoder_state": [torch.cat([final_state[0], final_state[1]], dim=-1)],
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
        encoder_state_size: width of the encoder's final state; where the encoder returns none,
            of its output.
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
        self.layers = nn.ModuleList(
            LRNDecoderLayer(
                cfg.decoder_embed_dim,
                cfg.decoder_hidden_size,
                encoder_embed_dim=cfg.encoder_embed_dim,
                encoder_state_size=encoder_state_size,
                attention_heads=cfg.decoder_attention_heads,
                attention_dropout=cfg.attention_dropout,
                ffn_dim=cfg.decoder_ffn_embed_dim,
                dropout=cfg.dropout_of("decoder_dropout_out"),
                locked_dropout=cfg.locked_dropout,
                normalize_before=cfg.decoder_normalize_before,
                **recurrence_options(cfg),
            )
            for _ in range(cfg.decoder_layers)
        )
        self.layer_norm = (
            nn.LayerNorm(cfg.decoder_embed_dim) if cfg.decoder_normalize_before else nn.Identity()
        )
        self.output_projection = self.build_output_projection(cfg, dictionary)

    def build_output_projection(self, cfg: LRNDecoderConfig, dictionary) -> nn.Module:
        """What makes logits of features; with adaptive softmax nothing, its loss needs features."""
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
            projected = self.project_memory(memory)
        else:
            cached_states, cached_memory = cached["states"], cached["memory"]
            num_steps = cached["num_steps"]
            assert cached_states is not None and cached_memory is not None
            assert num_steps is not None
            states = list(cached_states.unsqueeze(1).unbind(0))
            projected = list(cached_memory.unbind(0))
            # A caller may pass the whole prefix, as fairseq does, or the new token alone.
            num_seen = min(int(num_steps.item()), prev_output_tokens.size(1) - 1)
        tokens = prev_output_tokens[:, num_seen:]

        time_mask = tokens.eq(self.padding_idx).t()
        x = self.embed_scale * self.word_dropout(self.embed_tokens(tokens.t()))
        x = self.dropout_in(x)
        attn: Optional[Tensor] = None
        new_states: List[Tensor] = []
        for index, layer in enumerate(self.layers):
            x, h_n, attn = layer(
                x,
                states[index],
                projected[2 * index],
                projected[2 * index + 1],
                memory_padding_mask,
                time_mask,
                index == len(self.layers) - 1 and self.need_attn and not self.training,
            )
            new_states.append(h_n[0])
        if incremental_state is not None:
            recurrence: Dict[str, Optional[Tensor]] = {
                "states": torch.stack(new_states),
                "memory": torch.stack(projected) if cached is None else cached["memory"],
                # on the CPU, so that reading it does not wait for a GPU
                "num_steps": torch.tensor(num_seen + tokens.size(1)),
            }
            self.set_incremental_state(incremental_state, "recurrence", recurrence)
        x = self.layer_norm(x)
        return x.transpose(0, 1), {"attn": [attn]}

    def initial_states(self, encoder_out: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The layers' initial states, ``1 x B x state_size`` each."""
        if "encoder_state" in encoder_out:
            encoder_state = encoder_out["encoder_state"][0]
        else:
            encoder_state = mean_over_time(
                encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
            )
        return [layer.initial_state(encoder_state) for layer in self.layers]

    def project_memory(self, memory: Tensor) -> List[Tensor]:
        """Keys and values of the layers in turns, ``S x B x C`` each, of the memory."""
        projected: List[Tensor] = []
        for layer in self.layers:
            projected.extend(layer.project_memory(memory))
        return projected

    @torch.jit.unused
    def start_search(self, encoder_out: Dict[str, List[Tensor]]) -> SearchState:
        """The state of one hypothesis for each sentence, before its first symbol.

        Args:
            encoder_out: what the encoder returns.
        """
        padding_mask = encoder_out["encoder_padding_mask"][0]
        state = SearchState(
            [initial[0] for initial in self.initial_states(encoder_out)],
            self.project_memory(encoder_out["encoder_out"][0]),
            padding_mask if bool(padding_mask.any()) else None,
        )
        if not self.training and has_decoder_step(state.memory[0]):
            of_layers = [layer.step_parameters() for layer in self.layers]
            if None not in of_layers:
                state.parameters = sum(of_layers, [])
        return state

    @torch.jit.unused
    def search_step(self, tokens: Tensor, state: SearchState) -> Tensor:
        """Features ``W*B x C`` after the newest symbols ``W x B``; *state* goes on with them.

        They have the type that the output layer multiplies in, so that logits have it, too: in
        float32 those of a projection packed in bfloat16 would be no more exact.
        """
        x = self.embed_scale * self.word_dropout(self.embed_tokens(tokens))
        x = self.dropout_in(x)
        if state.parameters is not None:
            layer = self.layers[0]
            x, state.recurrent = lrn_decoder_step(
                x.view(-1, x.size(2)),
                state.recurrent,
                state.memory,
                state.padding_mask,
                state.parameters,
                layer.encoder_attn.num_heads,
                layer.recurrence.cells[0].activation,
                layer.residual.normalize_before,
                layer.residual.layer_norm.eps,
                NORM_EPS,
                layer.encoder_attn.masked_score,
            )
            return self._for_output(x)
        for index, layer in enumerate(self.layers):
            keys, values = state.memory[2 * index : 2 * index + 2]
            x, state.recurrent[index] = layer.step(
                x, state.recurrent[index], keys, values, state.padding_mask
            )
        return self._for_output(x.view(-1, x.size(2)))

    @torch.jit.unused
    def _for_output(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x)
        if isinstance(self.output_projection, Linear):
            x = x.to(self.output_projection.product_dtype(x.device.type))
        return x

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x C``; with adaptive softmax, the features."""
        return self.output_projection(features)

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
            cached["states"] = states.index_select(1, new_order)
            cached["memory"] = memory.index_select(2, new_order)
            self.set_incremental_state(incremental_state, "recurrence", cached)
        return incremental_state


def mean_over_time(memory: Tensor, padding_mask: Tensor) -> Tensor:
    """The mean ``B x C`` of the memory ``S x B x C`` where the mask ``B x S`` is false."""
    kept = (~padding_mask).t().unsqueeze(-1).to(memory.dtype)
    return (memory * kept).sum(0) / kept.sum(0).clamp(min=1.0)


def embedding_scale(cfg: LRNDecoderConfig, embed_tokens: nn.Embedding) -> float:
    """Factor on the embeddings, as in fairseq's transformer."""
    return 1.0 if cfg.no_scale_embedding else math.sqrt(embed_tokens.embedding_dim)


def recurrence_options(cfg: LRNDecoderConfig) -> Dict[str, object]:
    """Options of the recurrence."""
    return {
        "cell": str(cfg.cell),
        "activation": str(cfg.activation_fn),
        "bias": not cfg.no_projection_bias,
        "norm": "layer" if cfg.layernorm_projection else None,
    }
