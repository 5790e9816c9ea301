"""The page of a classifier, tagger or reader: labels, weights of words, entities, and answers."""

from typing import Any, Dict, List, Optional, Sequence, Union

from fairseq_lrn.demo.texts import (
    MAX_CHARACTERS,
    MAX_CONTEXT,
    MAX_LINES,
    checked_fields,
    context_of,
    lines_of_text,
)
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import Classification, Classifier
from fairseq_lrn.generation.reader import FoundAnswer, Reader
from fairseq_lrn.generation.tagger import Tagger, Tagging

EXAMPLE = '{"text": "Ada lived in London."}'
PAIR_EXAMPLE = '{"text": "A dog sleeps.", "other": "An animal sleeps."}'
QUESTION_EXAMPLE = '{"text": "Where did she live?", "other": "Ada lived in London."}'


class LabellingService:
    """Labels the texts of the page.

    Args:
        model: labels the texts.
    """

    page = "label.html"
    route = "/label"

    def __init__(self, model: Union[Classifier, Tagger, Reader]):
        self.model = model
        self.kind = model.text.kind  # "text", "pair", "tags" or "spans"

    def about(self) -> Dict[str, Any]:
        """See :class:`~fairseq_lrn.demo.server.Service`."""
        limits = {"max_characters": MAX_CHARACTERS, "max_lines": MAX_LINES}
        if self.kind == "spans":
            limits["max_context"] = MAX_CONTEXT
        return {"kind": self.kind, **limits}

    def answer(self, fields: Any) -> Dict[str, Any]:
        """See :class:`~fairseq_lrn.demo.server.Service`.

        Each line of a text is labelled on its own. Of a pair of texts, line n of one belongs to
        line n of the other. A line that is empty in every text is left out. A reader answers the
        question on each line of the first text, with the second text as a whole.
        """
        if isinstance(self.model, Reader):
            return {"lines": self._answer(fields, self.model)}
        example = PAIR_EXAMPLE if self.kind == "pair" else EXAMPLE
        names = ("text", "other") if self.kind == "pair" else ("text",)
        fields = checked_fields(fields, set(names), example)
        columns = [without_end(lines_of_text(fields.get(n), example, n)) for n in names]
        if not all(columns):  # one of two texts may be empty
            columns = [lines or [""] * max(map(len, columns)) for lines in columns]
        if len({len(lines) for lines in columns}) > 1:
            raise InputError(
                f"the first text has {len(columns[0])} line{'s' * (len(columns[0]) != 1)}, and the "
                f"second has {len(columns[1])}: give both the same number of lines"
            )
        samples = [sample for sample in zip(*columns) if any(sample)]
        return {"lines": self._label(samples)}

    def _answer(self, fields: Any, reader: Reader) -> List[Dict[str, Any]]:
        fields = checked_fields(fields, {"text", "other"}, QUESTION_EXAMPLE)
        questions = lines_of_text(fields.get("text"), QUESTION_EXAMPLE, "text")
        context = context_of(fields.get("other"), QUESTION_EXAMPLE, "other")
        asked = [question for question in questions if question]
        return [
            answer_as_json(question, context, answer)
            for question, answer in zip(asked, reader(asked, context) if asked else [])
        ]

    def _label(self, samples: Sequence[Any]) -> List[Dict[str, Any]]:
        if isinstance(self.model, Tagger):
            texts = [text for (text,) in samples]
            return [tagging_as_json(*one) for one in zip(texts, self.model(texts))]
        given = samples if self.kind == "pair" else [text for (text,) in samples]
        return list(map(classification_as_json, self.model(given)))


def without_end(lines: List[str]) -> List[str]:
    """Lines without the empty ones at the end."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def tagging_as_json(text: str, tagging: Tagging) -> Dict[str, Any]:
    """A line and its entities."""
    return {"text": text, "entities": [entity._asdict() for entity in tagging.entities]}


def answer_as_json(question: str, context: str, answer: FoundAnswer) -> Dict[str, Any]:
    """A question, and the text with the place of the answer."""
    return {
        "question": question,
        "text": context,
        "answer": answer.text,
        "probability": round(answer.probability, 4),
        "start": answer.start,
        "end": answer.end,
    }


def classification_as_json(result: Classification) -> Dict[str, Any]:
    """The labels of a line, and the weight of each word of its one or two texts."""
    is_pair = bool(result.words) and isinstance(result.words[0], list)
    texts = result.words if is_pair else [result.words]
    weights: List[Optional[List[float]]] = [None] * len(texts)
    if result.attention is not None:
        found = result.attention if is_pair else [result.attention]
        weights = [[round(weight, 4) for weight in one] for one in found]
    return {
        "labels": [[label, round(p, 4)] for label, p in result.probabilities.items()],
        "texts": [{"words": words, "weights": w} for words, w in zip(texts, weights)],
    }
