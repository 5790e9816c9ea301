"""The page of a translation model: translations, hypotheses of the beam, attention and memory."""

from typing import Any, Dict, List, NamedTuple, Optional

from torch import Tensor

from fairseq_lrn.analysis.memory import END, memory
from fairseq_lrn.analysis.plots import subword_labels
from fairseq_lrn.demo.texts import MAX_CHARACTERS, MAX_LINES, checked_fields, lines_of_text
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import longest_source
from fairseq_lrn.generation.translator import Translation, Translator

MAX_BEAM = 20
DEFAULT_BEAM = 5
EXAMPLE = '{"text": "Two dogs play.", "beam": 5}'


class TranslationService:
    """Translates the texts of the page.

    Args:
        translator: translates the sentences.
    """

    page = "index.html"
    route = "/translate"

    def __init__(self, translator: Translator):
        self.translator = translator

    def about(self) -> Dict[str, Any]:
        """See :class:`~fairseq_lrn.demo.server.Service`."""
        return {
            "source": self.translator.raw.source_lang,
            "target": self.translator.raw.target_lang,
            "max_characters": MAX_CHARACTERS,
            "max_lines": MAX_LINES,
            "max_beam": MAX_BEAM,
        }

    def answer(self, fields: Any) -> Dict[str, Any]:
        """See :class:`~fairseq_lrn.demo.server.Service`."""
        return translation_as_json(self.translator, parse(fields))


class Request(NamedTuple):
    """What ``/translate`` is asked for.

    Attributes:
        lines: the text, line by line; each is translated on its own.
        beam: number of hypotheses per line.
    """

    lines: List[str]
    beam: int


def parse(fields: Any) -> Request:
    """Read the JSON of a request to ``/translate``.

    Raises:
        InputError: it is not a JSON object with a text, or a value is out of its range.
    """
    fields = checked_fields(fields, {"text", "beam"}, EXAMPLE)
    lines = lines_of_text(fields.get("text"), EXAMPLE)
    beam = fields.get("beam", DEFAULT_BEAM)
    if type(beam) is not int or not 1 <= beam <= MAX_BEAM:  # True is an int, too
        raise InputError(f"beam must be a whole number from 1 to {MAX_BEAM}")
    return Request(lines, beam)


def translation_as_json(translator: Translator, request: Request) -> Dict[str, Any]:
    """The answer to a request: the translation, and what the page shows of each line.

    Raises:
        InputError: a line is too long for the model, or cannot be translated.
    """
    longest = longest_source(translator.models)
    for number, line in enumerate(request.lines, 1):
        length = len(translator.raw.subwords(line, f"sentence {number}"))
        if length > longest:
            raise InputError(
                f"sentence {number} has {length} subwords, and the model reads at most {longest}: "
                "split it"
            )
    found = translator.hypotheses(
        request.lines, beam=request.beam, nbest=request.beam, attention=True
    )
    lines = [line_as_json(translator, *line) for line in zip(request.lines, found)]
    best = [line["hypotheses"][0]["text"] if line["hypotheses"] else "" for line in lines]
    return {"translation": "\n".join(best), "lines": lines}


def line_as_json(
    translator: Translator, line: str, translations: List[Translation]
) -> Dict[str, Any]:
    """A line of the text, with its translations, the best first; a line without words has none."""
    translations = [translation for translation in translations if translation.source_words]
    return {
        "source": line,
        "hypotheses": list(map(as_json, translations)),
        "memory": memory_as_json(translator, line) if translations else None,
    }


def as_json(translation: Translation) -> Dict[str, Any]:
    """A translation as the page receives it."""
    assert translation.attention is not None
    return {
        "text": translation.text,
        "score": translation.score,
        "source": [*translation.source_words, END],
        "words": [*translation.words, END],
        "attention": rounded(translation.attention),
    }


def memory_as_json(translator: Translator, text: str) -> Optional[Dict[str, Any]]:
    """How much of each subword the states of the first encoder layer keep, or None without LRN."""
    try:
        result = memory(translator, text)
    except InputError:
        return None
    return {"subwords": subword_labels(result.subwords), "weights": rounded(result.weights)}


def rounded(weights: Tensor) -> List[List[float]]:
    """Weights with as many digits as the page can show; all digits would be most of an answer."""
    return [[round(weight, 4) for weight in row] for row in weights.tolist()]
