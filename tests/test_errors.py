"""Errors that users can act on."""

import pytest

from fairseq_lrn.errors import InputError, cannot_read, command_failed


def test_input_errors_are_value_errors():
    with pytest.raises(ValueError, match="^give a file$"):
        raise InputError("give a file")


def test_failed_command_shows_its_last_lines():
    output = "\n".join(f"line {number}" for number in range(9)) + "\n\n"
    message = str(command_failed("training lrn on data-bin", output))
    expected = [f"line {number}" for number in range(4, 9)]
    assert message.splitlines() == [
        "training lrn on data-bin failed; its last output was:",
        *expected,
    ]


def test_unreadable_files():
    missing = FileNotFoundError(2, "No such file")
    assert str(cannot_read("a", missing)) == "cannot read a: No such file"
    assert str(cannot_read("b", EOFError("it ends early"))) == "cannot read b: it ends early"
