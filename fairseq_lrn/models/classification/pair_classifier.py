"""Classifier of pairs ``lrn_pair_classifier``, which reads one text with attention to the other."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import torch
from fairseq.models import register_model
from torch import Tensor, nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.models.classification.heads import ClassifierConfig, HeadModel
from fairseq_lrn.models.config_checks import check_counts
from fairseq_lrn.models.pair_input import PairInput, PairInputConfig
from fairseq_lrn.models.word_input import final_states, plain_layers
from fairseq_lrn.modules import AttentiveRecurrence, RecurrentLayer
from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.pooling import build_pooling


@dataclass
class LRNPairClassifierConfig(ClassifierConfig, PairInputConfig):
    """Options of the model ``lrn_pair_classifier``."""

    attention_heads: int = field(
        default=4, metadata={"help": "number of heads of the attention to the first text"}
    )

    def check(self) -> None:
        """See :meth:`ClassifierConfig.check`."""
        super().check()
        check_counts(self, "attention_heads")
        if 2 * self.hidden_size % self.attention_heads != 0:
            raise ValueError(
                f"twice --hidden-size ({self.hidden_size}) must be divisible by --attention-heads "
                f"({self.attention_heads}); change one of them"
            )
        if self.residual_layers:
            raise ValueError(
                "--residual-layers does not apply to lrn_pair_classifier: leave it out"
            )


@register_model("lrn_pair_classifier", dataclass=LRNPairClassifierConfig)
class LRNPairClassifier(HeadModel):
    """Classifier of pairs of texts (``--arch lrn_pair_classifier``).

    With N layers, N - 1 bidirectional recurrences read both texts with the same weights. Then a
    bidirectional recurrence reads the first text. Its final states are the initial state of a
    conditional recurrence (:class:`~fairseq_lrn.modules.AttentiveRecurrence`), which reads the
    second text and attends to the first one. Two more bidirectional recurrences and poolings give
    one vector for each text.

    Args:
        cfg: options.
        dictionary: dictionary of the words of both texts.
        characters: dictionary of the characters, or None.

    Source: Zhang and Sennrich (2019), natural language inference; Rocktaeschel et al. (2016).
    """

    CONFIG = LRNPairClassifierConfig

    def __init__(self, cfg: LRNPairClassifierConfig, dictionary: Any, characters: Optional[Any]):
        options = cfg.recurrence_options()
        norm = options["norm"]
        hidden = cfg.hidden_size
        # As in the authors' code, the logits are normalised like all other maps.
        super().__init__(4 * hidden, cfg.head_dropout, norm)
        self.padding_idx = dictionary.pad()
        self.hidden_size = hidden
        self.input = PairInput(cfg, dictionary, characters)
        self.reads_characters = self.input.reads_characters
        layer = {**options, "hidden_size": hidden, "bidirectional": True}
        shared = plain_layers(cfg, self.input.width, cfg.layers - 1)
        self.shared_layers = nn.ModuleList(shared)
        width = 2 * hidden if shared else self.input.width
        self.first = RecurrentLayer(input_size=width, **layer)
        self.second = AttentiveRecurrence(
            input_size=width,
            memory_size=2 * hidden,
            hidden_size=hidden,
            num_heads=cfg.attention_heads,
            **options,
        )
        self.initial = Affine(2 * hidden, self.second.state_size, norm=norm)
        self.first_upper = RecurrentLayer(input_size=2 * hidden, **layer)
        self.second_upper = RecurrentLayer(input_size=hidden, **layer)
        self.dropout = Dropout(cfg.dropout, cfg.locked_dropout, self.__class__.__name__)
        self.first_pooling, self.second_pooling = (
            build_pooling(
                str(cfg.pooling),
                2 * hidden,
                hidden_size=cfg.pooling_hidden_size,
                dropout=cfg.pooling_dropout,
                locked_dropout=cfg.locked_dropout,
            )
            for _ in range(2)
        )

    @classmethod
    def task_arguments(cls, task: Any) -> Tuple[Any, ...]:
        """See :class:`~fairseq_lrn.models.labelled.LabelledModel`."""
        if getattr(task, "num_inputs", 1) != 2:
            raise InputError(
                "lrn_pair_classifier needs --task text_classification and data with two texts: "
                "give the data that it was trained on; to train, prepare them with fairseq-lrn "
                "prepare-labelled --kind pair, or use --arch lrn_classifier"
            )
        return ()

    def forward(
        self,
        src_tokens: Tensor,
        other_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        src_characters: Optional[Tensor] = None,
        other_lengths: Optional[Tensor] = None,
        other_characters: Optional[Tensor] = None,
        features_only: bool = False,
        classification_head_name: Optional[str] = None,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """
        Args:
            src_tokens, other_tokens: words of the first text ``B x S`` and of the second text
                ``B x T``; padding may be on either side.
            src_lengths, other_lengths, features_only: not used; part of fairseq's interface.
            src_characters, other_characters: characters of each word, ``B x S x L`` and
                ``B x T x L``.
            classification_head_name: the head; None: return what the heads read.

        Returns:
            logits ``B x classes`` (without a head the pooled vectors ``B x C``), and a dictionary
            with ``attention``, the weight of each word of the first text in its pooling, ``B x S``,
            or None, ``other_attention``, ``B x T`` or None, and ``alignment``, the attention of the
            second text to the first one, averaged over heads, ``B x T x S``.
        """
        x, y = self.input(src_tokens, other_tokens, src_characters, other_characters)
        mask, other_mask = (
            tokens.t().eq(self.padding_idx) for tokens in (src_tokens, other_tokens)
        )
        x, y = self._shared(x, mask), self._shared(y, other_mask)
        x, states = self.first(x, self.first.initial_state(x), mask)
        initial = torch.tanh(self.initial(final_states(states, self.hidden_size)))
        y, _, _, weights = self.second(y, x, initial, other_mask, mask.t())
        x, y = self.dropout(x), self.dropout(y)
        x, _ = self.first_upper(x, self.first_upper.initial_state(x), mask)
        y, _ = self.second_upper(y, self.second_upper.initial_state(y), other_mask)
        first, attention = self.first_pooling(x, mask)
        second, other_attention = self.second_pooling(y, other_mask)
        pooled = torch.cat([first, second], dim=1)
        return self.classify(pooled, classification_head_name), {
            "attention": attention,
            "other_attention": other_attention,
            "alignment": weights.mean(-1).transpose(0, 1),  # T x B x S x heads to B x T x S
        }

    def _shared(self, x: Tensor, padding_mask: Tensor) -> Tensor:
        """What the layers that both texts share make of one of them, ``T x B x C``."""
        for layer in self.shared_layers:
            x, _ = layer(x, layer.initial_state(x), padding_mask)
        return self.dropout(x) if len(self.shared_layers) > 0 else x
