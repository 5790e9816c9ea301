"""fairseq-lrn prepare: its options. tests/data/test_prepare.py has the preparation itself."""

import argparse

import pytest

from fairseq_lrn.commands import prepare
from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.data.prepare import PrepareOptions
from toy_grammar import generate

LANGUAGES = ["-s", "en", "-t", "de"]


@pytest.fixture
def options(run, monkeypatch):
    """The options of the preparation, from arguments of the command."""

    def options(*arguments):
        calls = []
        monkeypatch.setattr(prepare, "prepare", calls.append)
        run("prepare", *arguments)
        return calls[0]

    return options


def test_defaults(options):
    found = options(*LANGUAGES, "--trainpref", "raw/train", "--destdir", "data", "--workers", "1")
    assert found == PrepareOptions("en", "de", trainpref="raw/train", destdir="data")


def test_all_options(options):
    found = options(
        *(*LANGUAGES, "--trainpref", "a", "--validpref", "b", "--testpref", "c,d"),
        *("--destdir", "data", "--vocab-size", 7, "--bpe-merges", 8, "--vocab-threshold", 9),
        *("--lowercase", "--tokenizer", "none", "--max-length", 10, "--max-ratio", 1.5),
        *("--vocab-from", "other", "--workers", 2),
    )
    prefixes = ["a", "b", ["c", "d"], "data"]
    expected = ["en", "de", *prefixes, 7, 8, 9, True, "none", 10, 1.5, "other", 2]
    assert found == PrepareOptions(*expected)


def test_earlier_name_of_an_option(options):
    assert options(*LANGUAGES, "--destdir", "data", "--no-tokenize").tokenizer == "none"


def test_empty_names_are_not_no_names(refuse, tmp_path):
    """As those of a shell variable that is not set."""
    destdir = ["--destdir", tmp_path / "data"]
    for command in (
        ["prepare", *LANGUAGES],
        ["prepare-lm"],
        ["prepare-labelled", "--kind", "text"],
    ):
        for option in ("--validpref", "--testpref"):
            message = refuse(*command, "--trainpref", "a", "--validpref", "b", option, "", *destdir)
            assert f"{option} has an empty name: give a file, or leave the option out" in message
        message = refuse(*command, "--trainpref", "", "--validpref", "b", *destdir)
        assert "--trainpref has an empty name" in message


def test_defaults_are_in_the_help():
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    for action in parser._actions:
        if not action.required and action.dest != "help" and action.const != "none":
            assert "(default: " in action.help, action


def test_command(run, tmp_path):
    for side, lang in enumerate(("en", "de")):
        write_lines(str(tmp_path / f"train.{lang}"), [pair[side] for pair in generate(100)])
    run(
        *("prepare", *LANGUAGES, "--trainpref", tmp_path / "train", "--workers", 1),
        *("--destdir", tmp_path / "data", "--vocab-size", 200),
    )
    assert (tmp_path / "data" / "train.en-de.en.bin").is_file()


def test_refused_input(refuse, tmp_path):
    arguments = ["prepare", *LANGUAGES, "--trainpref", tmp_path / "train", "--validpref", "v"]
    message = refuse(*arguments, "--destdir", tmp_path / "data")
    assert message == f"error: cannot read {tmp_path / 'train.en'}: No such file or directory\n"
