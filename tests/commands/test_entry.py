"""The start and the end that all commands share."""

import argparse
import contextlib
import logging
import os
import sys
from types import SimpleNamespace

import pytest

from fairseq_lrn.commands.entry import build_parser, run
from fairseq_lrn.errors import InputError


@pytest.fixture
def command():
    def main(args):
        if args.number < 0:
            raise InputError("--number must be at least 0: give another")
        print("number", args.number)

    return SimpleNamespace(
        __doc__="Print a number.\n\n    As it is.",
        HELP="print a number",
        add_arguments=lambda parser: parser.add_argument("--number", type=int, default=1),
        main=main,
    )


def test_description_keeps_its_lines(command):
    parser = build_parser(command, argparse.ArgumentParser)
    assert "Print a number.\n\n    As it is.\n" in parser.format_help()


def test_subcommand(command):
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    build_parser(command, subparsers.add_parser, "number", help=command.HELP)
    assert parser.parse_args(["number", "--number", "7"]).number == 7
    assert "print a number" in parser.format_help()


def test_refused_input(command, capsys):
    with pytest.raises(SystemExit) as error:
        run(lambda: command.main(SimpleNamespace(number=-1)))
    assert error.value.code == 2
    assert capsys.readouterr().err == "error: --number must be at least 0: give another\n"


def test_other_errors_keep_their_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_progress_is_logged(capsys):
    run(lambda: logging.getLogger("fairseq_lrn.data").info("train: 3 pairs"))
    assert capsys.readouterr().err == "train: 3 pairs\n"


def status_of(main, monkeypatch, stdout=None):
    """The exit status of a command, which writes to the file *stdout*."""
    if stdout is not None:
        monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as error:
        run(main)
    return error.value.code


def raise_(error):
    raise error


def test_interrupted(monkeypatch, capsys):
    assert status_of(lambda: raise_(KeyboardInterrupt), monkeypatch) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_file_that_cannot_be_used(monkeypatch, capsys):
    """Errors of the operating system that no command turned into a message of its own."""
    assert status_of(lambda: open("absent"), monkeypatch) == 2
    assert capsys.readouterr().err == "error: [Errno 2] No such file or directory: 'absent'\n"


def test_full_disk_behind_standard_output(command, monkeypatch, capsys):
    """Nothing is left for the end of the interpreter, which would print a message of its own."""
    with open("/dev/full", "w") as full:
        assert status_of(lambda: print("text"), monkeypatch, full) == 2
    message = "error: cannot write standard output: No space left on device\n"
    assert capsys.readouterr().err == message
    with open("/dev/full", "w") as full:  # as the output of --help
        assert status_of(lambda: (print("text"), sys.exit(0)), monkeypatch, full) == 2
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("text", ["text", 10_000 * "text"])
def test_reader_that_ends(monkeypatch, capsys, text):
    """As in ``| head -1``. The text is longer than the buffer, or not."""
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w") as pipe:
        assert status_of(lambda: print(text, flush=len(text) > 4), monkeypatch, pipe) == 141
    assert capsys.readouterr().err == ""


def test_closed_streams(monkeypatch, capsys):
    """What is printed is not lost silently. Without standard error, commands do their work."""

    def main():
        with pytest.raises(OSError, match="Bad file descriptor"):
            sys.stdin.read()
        logging.info("progress")
        print("text")

    for name in ("stdin", "stderr"):
        monkeypatch.setattr(sys, name, None)
    run(main)
    assert capsys.readouterr().out == "text\n"
    monkeypatch.setattr(sys, "stdout", None)
    assert status_of(main, monkeypatch) == 2


def test_names_that_are_not_text(capsys):
    """Python reads the byte 0xFF of a name as U+DCFF, which UTF-8 cannot hold."""
    run(lambda: print("wrote m\udcff.pt"))
    assert capsys.readouterr().out == "wrote m\\udcff.pt\n"
