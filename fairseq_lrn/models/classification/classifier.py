"""Classifier of texts ``lrn_classifier``: a bidirectional recurrence and a pooling layer."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from fairseq.models import register_model
from torch import Tensor

from fairseq_lrn.models.classification.heads import (
    ClassifierConfig,
    HeadModel,
    check_single_text,
)
from fairseq_lrn.models.config_checks import warn_of_no_effect
from fairseq_lrn.models.word_input import TextLayers, WordInput
from fairseq_lrn.modules.pooling import build_pooling


@dataclass
class LRNClassifierConfig(ClassifierConfig):
    """Options of the model ``lrn_classifier``."""

    no_pooling_query: bool = field(
        default=False,
        metadata={"help": "attentive pooling does not read the final states of the recurrence"},
    )

    def check(self) -> None:
        """See :meth:`WordInputConfig.check`."""
        super().check()
        if self.no_pooling_query and str(self.pooling) != "attention":
            raise ValueError(
                f"--no-pooling-query has no effect with --pooling {self.pooling}: leave it out"
            )
        if self.layers == 1 and not self.residual_layers:
            others = "--input-dropout, --pooling-dropout and --head-dropout have"
            warn_of_no_effect(self, f"between layers with --layers 1; {others} one", "dropout")


@register_model("lrn_classifier", dataclass=LRNClassifierConfig)
class LRNClassifier(HeadModel):
    """Classifier of one text (``--arch lrn_classifier``).

    It runs with ``--task text_classification``, and without characters with fairseq's ``--task
    sentence_prediction``. The criterion of both is fairseq's ``sentence_prediction``.

    Args:
        cfg: options.
        dictionary: dictionary of the words.
        characters: dictionary of the characters, or None.

    Source: Zhang and Sennrich (2019), document classification.
    """

    CONFIG = LRNClassifierConfig

    def __init__(self, cfg: LRNClassifierConfig, dictionary: Any, characters: Optional[Any]):
        super().__init__(2 * cfg.hidden_size, cfg.head_dropout)
        self.padding_idx = dictionary.pad()
        self.input = WordInput(cfg, dictionary, characters)
        self.reads_characters = self.input.reads_characters
        self.layers = TextLayers(cfg, self.input.width)
        has_query = str(cfg.pooling) == "attention" and not cfg.no_pooling_query
        self.pooling = build_pooling(
            str(cfg.pooling),
            self.width,
            hidden_size=cfg.pooling_hidden_size,
            query_size=self.width if has_query else None,
            dropout=cfg.pooling_dropout,
            locked_dropout=cfg.locked_dropout,
        )

    @classmethod
    def task_arguments(cls, task: Any) -> Tuple[Any, ...]:
        """See :class:`~fairseq_lrn.models.labelled.LabelledModel`."""
        check_single_text(task)
        return ()

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        src_characters: Optional[Tensor] = None,
        features_only: bool = False,
        classification_head_name: Optional[str] = None,
        **kwargs: Any,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """
        Args:
            src_tokens: words, ``B x T``; padding may be on either side.
            src_lengths, features_only, kwargs: not used; part of fairseq's interface.
            src_characters: characters of each word, ``B x T x L``.
            classification_head_name: the head; None: return what the heads read.

        Returns:
            logits ``B x classes`` (without a head the pooled vector ``B x C``), and a dictionary
            with ``attention``, the weight of each word, ``B x T``, or None.
        """
        x = self.input(src_tokens, src_characters)
        padding = src_tokens.t().eq(self.padding_idx)  # T x B
        x, query = self.layers(x, padding)
        pooled, weights = self.pooling(x, padding, query)
        return self.classify(pooled, classification_head_name), {"attention": weights}
