"""Classification of texts and of pairs of texts, with words and characters."""

from dataclasses import dataclass, field
from typing import Any, Sequence

import torch
from fairseq.tasks import register_task
from torch import Tensor

from fairseq_lrn.data.labelled_dataset import lengths_of
from fairseq_lrn.data.labelled_files import PAIR, TEXT
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.options import check_minimum, option_name
from fairseq_lrn.tasks.labelled_text import PREPARE, LabelledTextConfig, LabelledTextTask


@dataclass
class TextClassificationConfig(LabelledTextConfig):
    """Options of ``--task text_classification``."""

    max_words: int = field(
        default=0, metadata={"help": "cut training texts to so many words; 0: never"}
    )


@register_task("text_classification", dataclass=TextClassificationConfig)
class TextClassificationTask(LabelledTextTask):
    """Classification of one text or of a pair of texts.

    It is fairseq's ``sentence_prediction`` with three differences: models can read characters, the
    two texts of a pair stay apart, and batches hold texts of similar length. The criterion is
    fairseq's ``sentence_prediction``.

    Raises:
        InputError: an option is out of range.
    """

    KINDS = (TEXT, PAIR)
    CRITERION = "sentence_prediction"

    def __init__(self, cfg: TextClassificationConfig, *dictionaries: Any):
        super().__init__(cfg, *dictionaries)
        check_minimum(0, max_words=cfg.max_words)
        self.max_words = cfg.max_words or None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model, with a head for the labels of the data.

        Raises:
            InputError: the model is no classifier.
        """
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "register_classification_head"):
            raise InputError(
                "--task text_classification needs --arch lrn_classifier or lrn_pair_classifier"
            )
        model.register_classification_head(HEAD, num_classes=len(self.labels))
        return model

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """See :class:`LabelledTextTask`.

        Raises:
            InputError: an option of fairseq's criterion does not apply.
        """
        criterion = super().build_criterion(cfg, *args, **kwargs)
        if getattr(cfg, "regression_target", False):
            raise InputError(
                "--regression-target does not apply to --task text_classification, whose labels "
                "are classes: leave it out"
            )
        head = getattr(cfg, "classification_head_name", HEAD)
        if head != HEAD:
            raise InputError(
                f"--classification-head-name {head} does not apply to --task text_classification, "
                f"whose models have the head {HEAD}: leave it out"
            )
        # fairseq computes these figures from the labels as numbers.
        are_numbers = all(label.isdecimal() for label in self.labels)
        for name, applies, needed in (
            ("report_acc_and_f1", set(self.labels) == {"0", "1"}, "the labels 0 and 1"),
            ("report_mcc", are_numbers, "numbers as labels"),
            ("report_pearson_and_spearman", are_numbers, "numbers as labels"),
        ):
            if getattr(cfg, name, False) and not applies:
                raise InputError(
                    f"{option_name(name)} needs {needed}, and the data have others "
                    f"({', '.join(sorted(self.labels)[:3])}): leave it out"
                )
        return criterion

    def labels_of(
        self, labels: Sequence[Tensor], words: Sequence[Tensor], split: str
    ) -> Sequence[Tensor]:
        """See :class:`LabelledTextTask`.

        Raises:
            InputError: a sample does not have exactly one label.
        """
        if len(labels) != len(words) or (lengths_of(labels) != 1).any():
            raise InputError(
                f"the labels of {self.cfg.data}, {split}, are not one for each text: {PREPARE} "
                "--kind text or pair"
            )
        # One tensor: a million small ones would take a gigabyte.
        return torch.tensor([int(labels[index][0]) for index in range(len(labels))])
