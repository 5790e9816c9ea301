"""Checks of the texts of requests."""

import pytest

from fairseq_lrn.demo.texts import MAX_CHARACTERS, MAX_LINES, checked_fields, lines_of_text
from fairseq_lrn.errors import InputError


def test_lines():
    assert lines_of_text(" a \t b\r\n\nc", "") == ["a b", "", "c"]
    assert len(lines_of_text("a\n" * (MAX_LINES - 1), "")) == MAX_LINES


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "other must be a string, e.g. EXAMPLE"),
        (
            "a" * (MAX_CHARACTERS + 1),
            f"other has {MAX_CHARACTERS + 1} characters: at most {MAX_CHARACTERS}",
        ),
        ("a\n" * MAX_LINES, f"other has {MAX_LINES + 1} lines: at most {MAX_LINES}"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(InputError, match=message):
        lines_of_text(text, "EXAMPLE", "other")


def test_fields():
    assert checked_fields({"text": 1}, {"text"}, "") == {"text": 1}
    with pytest.raises(InputError, match="send a JSON object, e.g. EXAMPLE"):
        checked_fields(["text"], {"text"}, "EXAMPLE")
    with pytest.raises(InputError, match="unknown field 'beam': a request has text and other"):
        checked_fields({"beam": 1}, {"text", "other"}, "")
