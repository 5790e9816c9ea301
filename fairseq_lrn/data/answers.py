"""How well answers agree with the right ones: the metric of SQuAD 1.1.

Source: the official script ``evaluate-v1.1.py`` (Rajpurkar et al., 2016).
"""

import re
import string
from collections import Counter
from typing import Mapping, NamedTuple, Sequence

from fairseq_lrn.data.span_files import SpanFile
from fairseq_lrn.errors import InputError

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Scores(NamedTuple):
    """Exact match and F1 in percent, and the number of questions."""

    exact_match: float
    f1: float
    questions: int


def normalize_answer(text: str) -> str:
    """Lower-case a text; remove punctuation marks of ASCII, English articles and extra spaces."""
    text = ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION))
    return " ".join(text.split())


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Whether a prediction is one of the right answers, after normalisation of both."""
    return normalize_answer(prediction) in map(normalize_answer, answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the words of a prediction, between 0 and 1: the largest over the right answers."""
    found = normalize_answer(prediction).split()
    return max(_f1(found, normalize_answer(answer).split()) for answer in answers)


def _f1(found: Sequence[str], right: Sequence[str]) -> float:
    common = sum((Counter(found) & Counter(right)).values())
    return 2 * common / (len(found) + len(right)) if common else 0.0


def score(predictions: Mapping[str, str], file: SpanFile) -> Scores:
    """Compare answers with those in a file. A question without an answer counts as wrong.

    Args:
        predictions: the answers by the ids of their questions.
        file: questions with their right answers.

    Raises:
        InputError: an id is not in the file, or a question of the file has no right answer.
    """
    unknown = predictions.keys() - set(file.ids)
    if unknown:
        raise InputError(
            f"{file.path} has no question {min(unknown)}: give the file of the answers"
        )
    without = [name for name, answers in zip(file.ids, file.answers) if not answers]
    if without:
        raise InputError(f"{file.path}, question {without[0]}: there is no right answer: add one")
    exact, total = 0, 0.0
    for name, answers in zip(file.ids, file.answers):
        if name in predictions:
            right = [answer.text for answer in answers]
            exact += exact_match(predictions[name], right)
            total += f1(predictions[name], right)
    count = len(file.ids)
    return Scores(100 * exact / count, 100 * total / count, count)
