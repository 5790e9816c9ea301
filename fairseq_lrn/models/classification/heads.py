"""What all classifiers share: fairseq's interface of models with classification heads."""

from dataclasses import dataclass, field
from typing import Any, Dict, Optional

from fairseq.dataclass import ChoiceEnum
from torch import Tensor, nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.models.config_checks import (
    check_choices,
    check_counts,
    check_probabilities,
    warn_of_no_effect,
)
from fairseq_lrn.models.labelled import LabelledModel
from fairseq_lrn.models.word_input import WordInputConfig
from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.pooling import POOLINGS


@dataclass
class ClassifierConfig(WordInputConfig):
    """Options of all classifiers."""

    pooling: ChoiceEnum(POOLINGS) = field(
        default="attention", metadata={"help": "how the outputs of all words become one vector"}
    )
    pooling_hidden_size: int = field(
        default=64, metadata={"help": "width of the hidden layer of attentive pooling"}
    )
    pooling_dropout: float = field(
        default=0.1, metadata={"help": "dropout probability of what is pooled"}
    )
    head_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability of the pooled vector"}
    )

    def check(self) -> None:
        """See :meth:`WordInputConfig.check`."""
        super().check()
        check_counts(self, "pooling_hidden_size")
        check_probabilities(self, "pooling_dropout", "head_dropout")
        check_choices(self, pooling=POOLINGS)
        if str(self.pooling) != "attention":
            warn_of_no_effect(self, f"with --pooling {self.pooling}", "pooling_hidden_size")


class HeadModel(LabelledModel):
    """A model with classification heads, for fairseq's criterion ``sentence_prediction``.

    Args:
        width: width of the vector that the heads read.
        dropout: its dropout probability.
        norm: normalisation of the logits, as in the paper's pair classifier; None: none.
    """

    def __init__(self, width: int, dropout: float, norm: Optional[str] = None):
        super().__init__()
        self.width, self.norm = width, norm
        self.head_dropout = nn.Dropout(dropout)
        self.classification_heads = nn.ModuleDict()

    def register_classification_head(
        self, name: str, num_classes: int, inner_dim: Optional[int] = None, **kwargs: Any
    ) -> None:
        """Add a map to the logits of *num_classes* classes. Called by fairseq's task.

        Args:
            name: name of the head.
            num_classes: number of classes.
            inner_dim, kwargs: not used; part of fairseq's interface.
        """
        self.classification_heads[name] = Affine(self.width, num_classes, norm=self.norm)

    def label_maps(self) -> Dict[str, nn.Module]:
        """See :class:`~fairseq_lrn.models.labelled.LabelledModel`."""
        return {f"classification_heads.{n}": m for n, m in self.classification_heads.items()}

    def classify(self, pooled: Tensor, name: Optional[str]) -> Tensor:
        """Logits ``B x classes`` from the head *name*; without a name the vector ``B x C``."""
        if name is None:
            return pooled
        return self.classification_heads[name](self.head_dropout(pooled))


def check_single_text(task: Any) -> None:
    """Refuse a task whose data are pairs, which only a pair classifier reads.

    Raises:
        InputError: names the remedy.
    """
    if getattr(task, "num_inputs", 1) != 1:
        raise InputError(
            "the data are pairs of texts, but this model reads single ones: give the data that it "
            "was trained on; to train on pairs, use --arch lrn_pair_classifier, or --task "
            "sentence_prediction, which joins the two texts"
        )
