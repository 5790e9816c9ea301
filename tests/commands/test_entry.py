"""The start and the end that all commands share."""

import argparse
import logging
import sys
from types import SimpleNamespace

import pytest

from fairseq_lrn.commands.entry import build_parser, run, run_script
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


def test_script(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", "--number", "7"])
    run_script(command)
    assert capsys.readouterr().out == "number 7\n"


def test_refused_input(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", "--number", "-1"])
    with pytest.raises(SystemExit) as error:
        run_script(command)
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
