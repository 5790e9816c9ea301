"""Using a trained reader with raw text: :func:`load_reader`."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union, overload

import torch
from torch import Tensor

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import count, items
from fairseq_lrn.generation.labelled_model import Predictor, load_parts
from fairseq_lrn.generation.loading import PathLike
from fairseq_lrn.modules.answer_pointer import best_spans


class FoundAnswer(NamedTuple):
    """The answer to a question.

    Attributes:
        text: its text, exactly as in the context.
        probability: the probability of its first word times that of its last word.
        start: position of its first character in the context.
        end: the position after its last character.
    """

    text: str
    probability: float
    start: int
    end: int


class Reader(Predictor):
    """A trained reader. See :func:`load_reader`."""

    @overload
    def __call__(self, questions: str, contexts: str, **options: Any) -> FoundAnswer: ...

    @overload
    def __call__(
        self, questions: Iterable[str], contexts: Union[str, Iterable[str]], **options: Any
    ) -> List[FoundAnswer]: ...

    def __call__(
        self,
        questions: Union[str, Iterable[str]],
        contexts: Union[str, Iterable[str]],
        batch_size: int = 32,
        progress: Optional[bool] = None,
        first_number: int = 1,
        max_answer_distance: Optional[int] = None,
    ) -> Union[FoundAnswer, List[FoundAnswer]]:
        """Find the answer to a question in a context, or the answers to several questions.

        Args:
            questions: a question, or several of them.
            contexts: the text that has the answer; for several questions one text for all of them,
                or as many texts.
            batch_size: number of questions that are read together; fewer if texts are long.
            progress: show a progress bar; None: on a terminal, from 100 questions on.
            first_number: number of the first question, for error messages.
            max_answer_distance: the last word of an answer is at most so many words after its
                first; None: as in training.

        Returns:
            the answer; to several questions, a list in their order.

        Raises:
            InputError: a question or a context is not a string, has no words, or has code points
                that are not characters; there are not as many contexts as questions;
                *batch_size* is not a whole number above 0, or *max_answer_distance* is no whole
                number of at least 0.
        """
        if isinstance(questions, str):
            options = batch_size, progress, first_number, max_answer_distance
            return self([questions], [contexts], *options)[0]
        if max_answer_distance is None:
            max_answer_distance = self.task.cfg.max_answer_distance
        max_answer_distance = count("max_answer_distance", max_answer_distance, least=0)
        asked = list(items(questions))
        texts = [contexts] * len(asked) if isinstance(contexts, str) else list(items(contexts))
        if len(texts) != len(asked):
            raise InputError(
                f"there are {len(asked)} questions and {len(texts)} contexts: give one context, or "
                "as many as there are questions"
            )
        numbers = range(first_number, first_number + len(asked))
        question_words = [
            [word for word, _, _ in self._words(text, f"question {number}")]
            for text, number in zip(asked, numbers)
        ]
        places, context_words = self._contexts(texts, numbers)
        columns = [question_words, context_words]
        found: List[Optional[FoundAnswer]] = [None] * len(asked)
        for indices, arguments in self.batches_of(columns, batch_size, progress):
            best = self._best(arguments, max_answer_distance)
            for index, (first, last, probability) in zip(indices, best):
                start, end = places[index][first][1], places[index][last][2]
                found[index] = FoundAnswer(texts[index][start:end], probability, start, end)
        return [answer for answer in found if answer is not None]

    def _contexts(
        self, texts: List[str], numbers: Iterable[int]
    ) -> Tuple[List[List[Tuple[str, int, int]]], List[List[str]]]:
        """The words of contexts with and without their places.

        Several questions may be about one context, which then has a single list.
        """
        places: Dict[str, List[Tuple[str, int, int]]] = {}
        for text, number in zip(texts, numbers):
            if not isinstance(text, str) or text not in places:
                places[text] = self._words(text, f"context {number}")
        words = {text: [word for word, _, _ in found] for text, found in places.items()}
        return [places[text] for text in texts], [words[text] for text in texts]

    def _words(self, text: str, name: str) -> List[Tuple[str, int, int]]:
        words = self.text.words_with_offsets(text, name)
        if not words:
            raise InputError(f"{name} has no words: give one with words")
        return words

    @torch.no_grad()
    def _best(
        self, arguments: Dict[str, Tensor], max_distance: int
    ) -> List[Tuple[int, int, float]]:
        """The first and last word of the answers, and their probabilities."""
        starts, ends, log_probs = best_spans(*self.model(**arguments), max_distance)
        return list(zip(starts.tolist(), ends.tolist(), log_probs.exp().tolist()))


def load_reader(
    path: PathLike,
    checkpoint: Optional[PathLike] = None,
    data: Optional[PathLike] = None,
    device: Optional[str] = None,
) -> Reader:
    """Load a trained reader, with all that raw text needs.

    Args:
        path, checkpoint, data, device: see
            :func:`~fairseq_lrn.generation.classifier.load_classifier`.

    Raises:
        InputError: the checkpoint cannot be used, it is not of a reader, the files that raw text
            needs are missing, or *device* cannot be used.

    Example:
        >>> reader = load_reader("squad/lrn-1/checkpoints")  # doctest: +SKIP
        >>> reader("Where did she live?", "Ada Lovelace lived in London.")  # doctest: +SKIP
        FoundAnswer(text='London', probability=0.97, start=22, end=28)
    """
    return Reader(*load_parts(path, checkpoint, data, device, "span_prediction", "a reader"))
