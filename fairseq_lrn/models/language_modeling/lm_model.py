"""Language model ``lrn_lm``: a decoder of LRN layers without a source."""

from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from fairseq.models import FairseqLanguageModel, register_model
from torch import Tensor, nn

from fairseq_lrn.models.ablations import layer_parts
from fairseq_lrn.models.adaptive_softmax import NEVER, build_adaptive_softmax
from fairseq_lrn.models.base import RecurrentDecoder
from fairseq_lrn.models.decoder_parts import embedding_scale, recurrence_options
from fairseq_lrn.models.dictionaries import check_dictionaries, remember_dictionaries
from fairseq_lrn.models.embedding import build_embedding
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig
from fairseq_lrn.modules import LRNDecoderLayer, RecurrentStack
from fairseq_lrn.modules.dropout import Dropout, TypeDropout, WordDropout
from fairseq_lrn.modules.fingerprint import derived
from fairseq_lrn.modules.layers import build_decoder_step
from fairseq_lrn.modules.linear import Linear, may_use_packed_weights, repack_changed_weights
from fairseq_lrn.modules.mixture_of_softmaxes import MixtureOfSoftmaxes
from fairseq_lrn.modules.output_table import plain_output_table
from fairseq_lrn.modules.plain_layer import PlainLayer
from fairseq_lrn.ops import DecoderStep, has_decoder_step

# A recurrent model reads texts of any length. fairseq's commands want a number.
ANY_LENGTH = 10**9


@register_model("lrn_lm", dataclass=LRNLanguageModelConfig)
class LRNLanguageModel(FairseqLanguageModel):
    """LRN language model (``--arch lrn_lm``).

    Source: Zhang and Sennrich (2019), section 5.4, for ``--plain-layers`` (the architectures
    ``lrn_lm_ptb`` and ``lrn_lm_wikitext2``). The residual layers are this project's own design.
    """

    @classmethod
    def build_model(cls, cfg: LRNLanguageModelConfig, task: Any) -> "LRNLanguageModel":
        """Build a model for a task with ``source_dictionary`` and ``target_dictionary``.

        Raises:
            ValueError: an option has an invalid value or conflicts with another, or the task has
                two different dictionaries.
        """
        cfg = LRNLanguageModelConfig.from_namespace(cfg)
        cfg.check()
        dictionary = task.source_dictionary
        if getattr(getattr(task, "args", None), "add_bos_token", False):
            raise ValueError(
                "--add-bos-token is not supported by lrn_lm, which reads </s> before the first "
                "token: leave it out"
            )
        if len(dictionary) != len(task.target_dictionary):
            raise ValueError(
                "--output-dictionary-size is not supported by lrn_lm: leave it out, and prepare "
                "the data with a smaller dictionary"
            )
        embedding = build_embedding(
            dictionary, cfg.decoder_embed_dim, cfg.decoder_embed_path, cfg.decoder_freeze_embed,
            side="decoder",
        )  # fmt: skip
        if cfg.embed_init_range is not None and cfg.decoder_embed_path is None:
            nn.init.uniform_(embedding.weight, -cfg.embed_init_range, cfg.embed_init_range)
            nn.init.zeros_(embedding.weight[dictionary.pad()])
        model = cls(LanguageModelDecoder(cfg, dictionary, embedding))
        remember_dictionaries(model, word=dictionary)
        return model

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        is_continued: Optional[bool] = None,
        features_only: bool = False,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """
        Args:
            src_tokens: tokens, ``B x T``.
            src_lengths: not used; part of fairseq's interface.
            is_continued: whether the tokens continue the previous batch. True starts from the
                states after that batch, and False from states of zeros; both keep the states after
                this batch. None, as in fairseq, starts from zeros and keeps nothing.
            features_only: skip the output layer.
            incremental_state: cache of incremental decoding.

        Returns:
            see :meth:`LanguageModelDecoder.forward`.

        Raises:
            ValueError: the tokens continue a batch that was not seen, or that had another size.
        """
        return self.decoder(
            src_tokens,
            incremental_state=incremental_state,
            is_continued=is_continued,
            features_only=features_only,
        )

    def upgrade_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Called by fairseq before it loads a checkpoint.

        Raises:
            DataMismatch: the checkpoint has another dictionary than the data.
        """
        super().upgrade_state_dict(state_dict)
        check_dictionaries(self, state_dict)

    def get_normalized_probs(self, net_output, log_probs: bool, sample=None) -> Tensor:
        """(Log) probabilities ``B x T x V`` from the result of :meth:`forward`."""
        if self.decoder.mixture is None:
            return super().get_normalized_probs(net_output, log_probs, sample)
        return net_output[0] if log_probs else net_output[0].exp()  # these are log-probabilities


class LanguageModelDecoder(RecurrentDecoder):
    """The layers of :class:`LRNLanguageModel`, with embeddings and output layer.

    Args:
        cfg: options.
        dictionary: the dictionary.
        embed_tokens: embedding, of width ``cfg.decoder_embed_dim``.

    Attributes:
        classes: the range of tokens that can have a probability. ``<s>``, ``<pad>`` and the
            made-up words at the end of the dictionary are outside; they never occur in a text.

    Raises:
        ValueError: a cutoff of adaptive softmax exceeds the size of the dictionary.
    """

    def __init__(self, cfg: LRNLanguageModelConfig, dictionary, embed_tokens: nn.Embedding):
        super().__init__(dictionary, cfg.max_target_positions)
        self.need_attn = False
        self.classes = class_range(dictionary)
        self.embed_tokens = embed_tokens
        self.embed_scale = embedding_scale(cfg, embed_tokens)
        name = self.__class__.__name__
        self.type_dropout = TypeDropout(cfg.type_dropout, module_name=name)
        self.word_dropout = WordDropout(cfg.word_dropout, module_name=name)
        self.dropout_in = Dropout(
            cfg.dropout_probability("decoder_dropout_in"), cfg.locked_dropout, name
        )
        self.layers = RecurrentStack(_build_layers(cfg))
        self.layer_norm = (
            nn.LayerNorm(cfg.decoder_embed_dim) if cfg.decoder_normalize_before else nn.Identity()
        )
        self.dropout_out = Dropout(
            cfg.dropout_probability("output_dropout"), cfg.locked_dropout, name
        )
        self.mixture: Optional[MixtureOfSoftmaxes] = None
        if cfg.adaptive_softmax_cutoff is not None:
            self.adaptive_softmax = build_adaptive_softmax(
                cfg, embed_tokens, len(dictionary), self.classes
            )
            # fairseq's loss for adaptive softmax takes features instead of logits.
            self.output_projection = nn.Identity()
        else:
            self._build_output_layer(cfg, len(dictionary))
        # For training and evaluation, the states after the last batch, 1 x B x state_size each.
        self._carried: Dict[bool, List[Tensor]] = {}

    def _build_output_layer(self, cfg: LRNLanguageModelConfig, num_tokens: int) -> None:
        width = cfg.output_size
        if cfg.mixture_of_softmaxes > 0:
            width = cfg.decoder_embed_dim
            self.mixture = MixtureOfSoftmaxes(
                cfg.output_size,
                width,
                cfg.mixture_of_softmaxes,
                cfg.dropout_probability("mixture_dropout"),
            )
        self.output_projection = Linear(width, num_tokens, bias=cfg.output_bias)
        if cfg.output_bias:
            nn.init.zeros_(self.output_projection.bias)
        if cfg.share_decoder_input_output_embed:
            self.output_projection.weight = self.embed_tokens.weight
        else:
            nn.init.normal_(self.output_projection.weight, std=width**-0.5)

    def forward(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        features_only: bool = False,
        src_lengths: Optional[Tensor] = None,
        is_continued: Optional[bool] = None,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """
        Args:
            prev_output_tokens: tokens, ``B x T``. In incremental decoding, either the whole prefix
                or its last token. Positions that are already decoded are skipped.
            encoder_out, src_lengths: not used; part of fairseq's interface.
            incremental_state: cache of incremental decoding.
            features_only: skip the output layer.
            is_continued: see :meth:`LRNLanguageModel.forward`.

        Returns:
            logits ``B x T x V`` (with a mixture of softmaxes log-probabilities, with adaptive
            softmax or *features_only* features ``B x T x C``), and a dictionary with ``states``,
            the final states of each layer, and ``features``, the features before dropout, ``B x T
            x C``.
        """
        x, extra = self.extract_features(
            prev_output_tokens, incremental_state=incremental_state, is_continued=is_continued
        )
        if not features_only:
            x = self.output_layer(x)
        return x, extra

    def extract_features(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        is_continued: Optional[bool] = None,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """Like :meth:`forward`, with features ``B x T x C`` in place of logits."""
        cached = self.cached_tensors(incremental_state)
        tokens, states, num_seen = prev_output_tokens, None, 0
        if cached is not None:
            num_seen = self.num_seen(cached, tokens)
            states = [cached[f"state{index}"] for index in range(len(self.layers))]
        elif is_continued:
            states = self._states_before(tokens)
        tokens = tokens[:, num_seen:]
        step = None if cached is None else self.fused_step()
        x, outputs, new_states = self.read(tokens.t(), states, step)
        if is_continued is not None:
            self._carried[self.training] = [state.detach() for state in new_states]
        recurrence = {f"state{index}": state for index, state in enumerate(new_states)}
        self.cache(incremental_state, recurrence, num_seen + tokens.size(1))
        extra = {
            "states": new_states,
            "features": outputs.transpose(0, 1),  # T x B x C to B x T x C
            "attn": [None],  # fairseq's search reads it
        }
        return x.transpose(0, 1), extra  # T x B x C to B x T x C

    def read(
        self,
        tokens: Tensor,
        states: Optional[List[Tensor]] = None,
        step: Optional[DecoderStep] = None,
    ) -> Tuple[Tensor, Tensor, List[Tensor]]:
        """Read tokens, from given states.

        Args:
            tokens: ``T x B``.
            states: of each layer, ``1 x B x state_size``; None: zeros, at the beginning of a text.
            step: the result of :meth:`fused_step` since the weights last changed; it reads a single
                token of each text faster.

        Returns:
            features after and before dropout, ``T x B x C`` each, and the states after the tokens.
        """
        if states is None:
            repack_changed_weights(self)
        x = self.embed_scale * self.type_dropout(
            self.embed_tokens(tokens), tokens, self.embed_tokens.num_embeddings
        )
        x = self.dropout_in(self.word_dropout(x))
        padding = tokens.eq(self.padding_idx)
        is_padded = bool(padding.any())
        if step is None or states is None or is_padded or x.size(0) != 1 or x.size(1) == 0:
            x, new_states, _ = self.layers(x, states, padding if is_padded else None)
        else:
            # From 1 x B x ... to B x ..., and back.
            output, found = step(x[0], [state[0].contiguous() for state in states], [], None)
            x, new_states = output.unsqueeze(0), [state.unsqueeze(0) for state in found]
        outputs = self.layer_norm(x)
        return self.dropout_out(outputs), outputs, new_states

    def fused_step(self) -> Optional[DecoderStep]:
        """One token through all layers in one call of C++, for generation on a CPU.

        None if the layers have to be called: in training, with gradients, or with parts that the
        operator does not know.
        """
        if self.training or not may_use_packed_weights():
            return None
        repack_changed_weights(self)
        return derived(self, self._fuse) if has_decoder_step(self.embed_tokens.weight) else None

    def _fuse(self) -> Optional[DecoderStep]:
        return build_decoder_step(self.layers)

    def _states_before(self, tokens: Tensor) -> List[Tensor]:
        """The states after the previous batch, for the batch *tokens*, ``B x T``."""
        states = self._carried.get(self.training)
        if states is None:
            raise ValueError(
                "the batch continues a text whose beginning the model has not read: "
                "begin with is_continued=False"
            )
        if states[0].size(1) != tokens.size(0):
            raise ValueError(
                f"the batch has {tokens.size(0)} columns, but the states that were carried over "
                f"have {states[0].size(1)}: keep --batch-size, or begin with is_continued=False"
            )
        return [state.to(tokens.device) for state in states]

    def carried_states(self) -> List[Tensor]:
        """The states after the last batch of training, ``1 x B x state_size``; empty if none."""
        return self._carried.get(True, [])

    def carry_states(self, states: List[Tensor]) -> None:
        """Let the next batch of training continue from *states*, see :meth:`carried_states`."""
        self._carried[True] = states

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits ``B x T x V`` from features ``B x T x C``; see :meth:`forward` for exceptions."""
        if self.adaptive_softmax is not None:
            return features
        start, end = self.classes
        weight, bias = self.class_weights()
        if self.mixture is not None:
            # The mixture takes time first: B x T x C to T x B x C, and back.
            scores = self.mixture(features.transpose(0, 1), weight, bias).transpose(0, 1)
        elif self.output_projection.packed_weight(features.device.type) is not None:
            scores = self.output_projection(features)[..., start:end]
        else:
            scores = F.linear(features, weight, bias)
        rest = self.output_projection.weight.size(0) - end
        return F.pad(scores, (start, rest), value=NEVER)

    def class_weights(self) -> Tuple[Tensor, Optional[Tensor]]:
        """Rows ``V' x C`` of the output matrix and ``V'`` elements of its bias, for the classes."""
        start, end = self.classes
        bias = self.output_projection.bias
        return self.output_projection.weight[start:end], None if bias is None else bias[start:end]

    def has_plain_output_layer(self) -> bool:
        """Whether the logits of the classes are the features times :meth:`class_weights`."""
        if self.mixture is not None:
            return False
        projection = self.output_projection
        table, _ = plain_output_table(self, LanguageModelDecoder.output_layer, projection)
        return table is not None

    def output_table(self) -> Tuple[Optional[Tensor], str]:
        """See :class:`RecurrentDecoder`."""
        return None, "use --criterion language_model_cross_entropy, which fuses it"

    def masked_tokens(self) -> Optional[Tensor]:
        """See :class:`RecurrentDecoder`."""
        if self.adaptive_softmax is not None:
            return None
        masked = torch.ones(len(self.dictionary), dtype=torch.bool)
        masked[slice(*self.classes)] = False
        return masked.to(self.embed_tokens.weight.device)

    def max_positions(self) -> int:
        """Longest text in tokens, for fairseq's commands. The model itself has no limit."""
        return self.max_target_positions or ANY_LENGTH


def _build_layers(cfg: LRNLanguageModelConfig) -> List[nn.Module]:
    options = {
        **recurrence_options(cfg),
        "weight_dropout": cfg.weight_dropout,
        "recurrent_weight_dropout": cfg.recurrent_weight_dropout,
        "locked_dropout": cfg.locked_dropout,
    }
    dropout = cfg.dropout_probability("decoder_dropout_out")
    if not cfg.plain_layers:
        return [
            LRNDecoderLayer(
                cfg.decoder_embed_dim,
                cfg.decoder_hidden_size,
                ffn_dim=cfg.decoder_ffn_embed_dim,
                normalize_before=cfg.decoder_normalize_before,
                dropout=dropout,
                parts=layer_parts(cfg.ablation),
                **options,
            )
            for _ in range(cfg.decoder_layers)
        ]
    widths = [cfg.decoder_embed_dim] + (cfg.decoder_layers - 1) * [cfg.decoder_hidden_size]
    widths.append(cfg.output_size)
    return [
        # The embeddings have their own dropout.
        PlainLayer(width, hidden, dropout=dropout if index > 0 else 0.0, **options)
        for index, (width, hidden) in enumerate(zip(widths, widths[1:]))
    ]


def class_range(dictionary: Any) -> Tuple[int, int]:
    """The first token that can occur in a text, and the token after the last one.

    fairseq's dictionaries begin with ``<s>`` and ``<pad>``, and may end with made-up words, which
    make their size a multiple of 8.
    """
    never = {dictionary.bos(), dictionary.pad()}
    start, end = 0, len(dictionary)
    while start in never:
        start += 1
    while end > start and dictionary[end - 1].startswith("madeupword"):
        end -= 1
    return start, end
