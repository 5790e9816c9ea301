"""Tagging of words, for example with named entities."""

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np
from fairseq.tasks import register_task
from torch import Tensor

from fairseq_lrn.data.entities import allowed_transitions, spans
from fairseq_lrn.data.labelled_dataset import lengths_of
from fairseq_lrn.data.labelled_files import TAGS
from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks.labelled_text import PREPARE, LabelledTextConfig, LabelledTextTask


@dataclass
class SequenceTaggingConfig(LabelledTextConfig):
    """Options of ``--task sequence_tagging``."""


class EntityCounts(NamedTuple):
    """Numbers of entities: in the data, predicted, and both."""

    right: int
    predicted: int
    correct: int


@register_task("sequence_tagging", dataclass=SequenceTaggingConfig)
class SequenceTaggingTask(LabelledTextTask):
    """Tagging of each word of a text, with ``--criterion sequence_tagging``.

    The data have tags in the scheme IOBES, to which ``fairseq-lrn prepare-labelled --kind tags``
    converts the tags of files.
    """

    KINDS = (TAGS,)
    CRITERION = "sequence_tagging"

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model.

        Raises:
            InputError: the model is no tagger.
        """
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "decode"):
            raise InputError("--task sequence_tagging needs --arch lrn_tagger")
        return model

    @property
    def tags(self) -> List[str]:
        """The tags, in the order in which models count them."""
        return self.labels

    def allowed_transitions(self) -> Tuple[List[bool], List[List[bool]], List[bool]]:
        """Which tags may be first, which may follow each tag, and which may be last."""
        return allowed_transitions(self.tags)

    def count_entities(
        self, target: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]
    ) -> EntityCounts:
        """Count the entities of texts.

        Args:
            target, predicted: tags of each text, without padding.
        """
        right, found, correct = 0, 0, 0
        for of_target, of_prediction in zip(target, predicted):
            entities, guesses = (
                set(spans([self.tags[tag] for tag in tags])) for tags in (of_target, of_prediction)
            )
            right += len(entities)
            found += len(guesses)
            correct += len(entities & guesses)
        return EntityCounts(right, found, correct)

    def labels_of(
        self, labels: Sequence[Tensor], words: Sequence[Tensor], split: str
    ) -> Sequence[Tensor]:
        """See :class:`LabelledTextTask`.

        Raises:
            InputError: a text does not have a tag for each word.
        """
        if not np.array_equal(lengths_of(labels), lengths_of(words)):
            raise InputError(
                f"the labels of {self.cfg.data}, {split}, are not one for each word: {PREPARE} "
                "--kind tags"
            )
        return labels
