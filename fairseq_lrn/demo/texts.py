"""The texts of requests: checks that the services of all pages share."""

from typing import Any, Dict, List, Set

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import lines_of

MAX_CHARACTERS = 1000
MAX_CONTEXT = 5000  # characters of a text that questions are about
MAX_LINES = 50


def checked_fields(fields: Any, known: Set[str], example: str) -> Dict[str, Any]:
    """The fields of a request.

    Args:
        fields: the JSON of the request.
        known: names of the fields that a request may have.
        example: a right request, for messages.

    Raises:
        InputError: *fields* is not a JSON object, or it has another field.
    """
    if not isinstance(fields, dict):
        raise InputError(f"send a JSON object, e.g. {example}")
    unknown = sorted(fields.keys() - known)
    if unknown:
        names = " and ".join(sorted(known, reverse=True))
        raise InputError(f"unknown field {unknown[0]!a}: a request has {names}")
    return fields


def lines_of_text(text: Any, example: str, name: str = "text") -> List[str]:
    """The lines of a text, with single spaces between words.

    Args:
        text: the text.
        example: a right request, for messages.
        name: name of the field.

    Raises:
        InputError: *text* is not a string, or it is too long.
    """
    lines = _normalised(text, example, name, MAX_CHARACTERS)
    if len(lines) > MAX_LINES:
        raise InputError(f"the field {name} has {len(lines)} lines: at most {MAX_LINES}")
    return lines


def context_of(text: Any, example: str, name: str) -> str:
    """A text that questions are about, of any number of lines, with single spaces between words.

    Args:
        text, example, name: see :func:`lines_of_text`.

    Raises:
        InputError: *text* is not a string, or it is too long.
    """
    return "\n".join(_normalised(text, example, name, MAX_CONTEXT)).strip()


def _normalised(text: Any, example: str, name: str, max_characters: int) -> List[str]:
    if not isinstance(text, str):
        raise InputError(f"{name} must be a string, e.g. {example}")
    if len(text) > max_characters:
        raise InputError(f"the field {name} has {len(text)} characters: at most {max_characters}")
    return [" ".join(line.split()) for line in lines_of(text)]
