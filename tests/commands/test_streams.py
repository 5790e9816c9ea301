"""Input and output of commands that work line by line."""

import argparse
import io
import os
import sys

import pytest

from fairseq_lrn.commands import streams
from fairseq_lrn.commands.streams import blocks, read_lines, read_stdin, text_of, with_progress
from fairseq_lrn.errors import InputError


def test_only_line_feeds_end_lines(tmp_path):
    (tmp_path / "first").write_bytes("\ufeffa\u2028b\x0bc\r\n\nd".encode())
    (tmp_path / "second").write_bytes(b"e\n")
    files = [str(tmp_path / name) for name in ("first", "second")]
    assert list(read_lines(files)) == ["a\u2028b\x0bc\r", "", "d", "e"]


def test_carriage_return():
    assert [text_of(line) for line in ("a\r", "a\rb ", "\r", "")] == ["a", "a\rb ", "", ""]


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_lines_do_not_depend_on_the_reads(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(streams, "CHUNK", chunk)
    for content in (b"", b"\n", b"one", b"one\n", b"\n\ntwo three\n\nfour", b"one\n\n"):
        (tmp_path / "text").write_bytes(content)
        lines = content.decode().removesuffix("\n").split("\n") if content else []
        assert list(read_lines([str(tmp_path / "text")])) == lines


@pytest.mark.parametrize(
    "content, message",
    [
        ("a\n".encode("utf-16"), "text is UTF-16, not UTF-8"),
        (b"a\n\xff\n", r"text is not UTF-8 \(line 2\)"),
        (b"a\rb", "text has lines that end with a carriage return only"),
    ],
)
def test_unusable_text(tmp_path, content, message):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_lines([str(tmp_path / "text")]))


def test_blocks():
    """Of two lines, or fewer before a pause, an error and the end."""
    lines = ["a", "b", "c", None, None, "d"]
    assert list(blocks(lines, 2)) == [(1, ["a", "b"]), (3, ["c"]), (4, ["d"])]
    assert list(blocks(lines, 9, str.upper))[0] == (1, ["A", "B", "C"])

    def failing():
        yield "a"
        raise InputError("not UTF-8")

    found = []
    with pytest.raises(InputError):
        for block in blocks(failing(), 2):
            found.append(block)
    assert found == [(1, ["a"])]


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize(
    "terminals, files, output, is_shown",
    [
        (["stderr"], [], None, True),
        (["stderr", "stdout"], ["text"], "out", True),
        (["stderr", "stdin"], ["text"], None, True),
        (["stderr", "stdout"], ["text"], None, False),  # the output is in the way
        (["stderr", "stdin"], [], None, False),  # so is the input
        (["stdin", "stdout"], ["text"], "out", False),
    ],
)
def test_progress(monkeypatch, terminals, files, output, is_shown):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Stream(name in terminals))
    args = argparse.Namespace(files=files, output=output)
    numbered = [(1, ["a", "b"]), (3, ["c"])]
    assert list(with_progress(numbered, args)) == numbered
    assert ("3 lines" in sys.stderr.getvalue()) == is_shown
    assert is_shown or not sys.stderr.getvalue()


def test_closed_standard_input(monkeypatch):
    with open(os.devnull, encoding="utf-8") as closed:
        pass
    for stdin in (closed, None):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(InputError, match="cannot read standard input"):
            read_stdin()
