"""Reading comprehension: the answer to a question is a span of a text."""

import os
from dataclasses import dataclass, field
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.tasks import register_task

from fairseq_lrn.data.answers import exact_match, f1
from fairseq_lrn.data.labelled_dataset import Selected, TextInput, lengths_of
from fairseq_lrn.data.labelled_files import SPANS
from fairseq_lrn.data.span_files import read_spans
from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum
from fairseq_lrn.tasks.labelled_text import (
    PREPARE,
    LabelledTextConfig,
    LabelledTextTask,
    Samples,
)


@dataclass
class SpanPredictionConfig(LabelledTextConfig):
    """Options of ``--task span_prediction``."""

    max_context_words: int = field(
        default=0,
        metadata={"help": "leave out training questions with a longer context; 0: no limit"},
    )
    max_answer_distance: int = field(
        default=15,
        metadata={"help": "largest distance of the last word of an answer from the first"},
    )


@dataclass(frozen=True)
class Reference:
    """What is right for a question.

    Attributes:
        context: raw text of the context.
        places: of each of its words the position of its first character and the position after its
            last one, side by side, ``2T``. No tensor, because data-loader workers send each tensor
            through a file of its own.
        answers: the texts of the right answers.
    """

    context: str
    places: np.ndarray
    answers: List[str]

    def text(self, first: int, last: int) -> str:
        """The text of the context from the first to the last word."""
        return self.context[int(self.places[2 * first]) : int(self.places[2 * last + 1])]


class AnswerScores(NamedTuple):
    """Sums over questions: exact matches, and F1 between 0 and 1."""

    exact_match: int
    f1: float


@register_task("span_prediction", dataclass=SpanPredictionConfig)
class SpanPredictionTask(LabelledTextTask):
    """Answers to questions, with ``--criterion span_prediction``.

    The data are those of ``fairseq-lrn prepare-labelled --kind spans``. The first text of a sample
    is the question, and the second is the context.

    Raises:
        InputError: an option is out of range.
    """

    KINDS = (SPANS,)
    CRITERION = "span_prediction"
    HAS_LABEL_DICTIONARY = False

    def __init__(self, cfg: SpanPredictionConfig, *dictionaries: Any):
        super().__init__(cfg, *dictionaries)
        check_minimum(
            0,
            max_context_words=cfg.max_context_words,
            max_answer_distance=cfg.max_answer_distance,
        )

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model.

        Raises:
            InputError: the model finds no spans.
        """
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "pointer"):
            raise InputError("--task span_prediction needs --arch lrn_reader")
        return model

    @property
    def num_inputs(self) -> int:
        """Number of texts of each sample."""
        return 2

    def samples(self, split: str, combine: bool, is_training: bool) -> Samples:
        """See :class:`LabelledTextTask`.

        Raises:
            InputError: answers and texts do not belong together, or no text is short enough.
        """
        question, context = (self._text(split, number, combine) for number in range(2))
        spans = self._indexed("label", split, Dictionary(), combine)
        lengths = lengths_of(context.words)
        if len(spans) != len(question.words) or (lengths_of(spans) != 3).any():
            raise self._broken(split)
        rows = np.stack([spans[index].numpy() for index in range(len(spans))])  # N x 3
        owner, first, last = rows.T
        if owner.max() >= len(lengths) or (first > last).any() or (last >= lengths[owner]).any():
            raise self._broken(split)
        kept = np.arange(len(rows))
        longest = self.cfg.max_context_words
        if is_training and longest > 0:
            kept = kept[lengths[owner] <= longest]
            if len(kept) == 0:
                raise InputError(
                    f"no context of {self.cfg.data}, {split}, has at most {longest} words: give a "
                    "larger --max-context-words"
                )
        inputs = [_select(question, kept), _select(context, owner[kept])]
        references = None if is_training else self._references(split, rows)
        return Samples(inputs, torch.from_numpy(rows[kept, 1:]), references)

    def score(
        self, references: Sequence[Reference], predicted: Sequence[Tuple[int, int]]
    ) -> AnswerScores:
        """Compare answers with the right ones.

        Args:
            references: of each question, what is right.
            predicted: the first and the last word of each answer.
        """
        pairs = [
            (reference.text(*span), reference.answers)
            for reference, span in zip(references, predicted)
        ]
        return AnswerScores(
            sum(exact_match(*pair) for pair in pairs), sum(f1(*pair) for pair in pairs)
        )

    def _references(self, split: str, rows: np.ndarray) -> List[Reference]:
        file = read_spans(os.path.join(self.cfg.data, "squad", f"{split}.json"))
        offsets = self._indexed("offsets1", split, Dictionary(), False)
        places = [offsets[index].numpy() for index in range(len(offsets))]
        if len(file.questions) != len(rows):
            raise self._broken(split)
        return [
            Reference(
                file.contexts[file.owners[index]],
                places[owner],
                [answer.text for answer in file.answers[index]],
            )
            for index, owner in enumerate(rows[:, 0])
        ]

    def _broken(self, split: str) -> InputError:
        return InputError(
            f"the answers of {self.cfg.data}, {split}, do not belong to its texts: {PREPARE} "
            "--kind spans"
        )


def _select(text: TextInput, indices: np.ndarray) -> TextInput:
    characters = None if text.characters is None else Selected(text.characters, indices)
    return TextInput(Selected(text.words, indices), characters)
