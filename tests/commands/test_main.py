"""The command fairseq-lrn and the help of its subcommands."""

import re

import pytest

from fairseq_lrn import __version__
from fairseq_lrn.commands.main import build_main_parser, load_commands, main
from fairseq_lrn.ops import dispatch, products

MODEL = ["MODEL", "--data", "--device", "--generation-dtype"]
LABELLING = [
    *("MODEL", "FILE", "--output", "--batch-size", "--buffer-size", "--data", "--device", "--json")
]
OPTIONS = {
    "prepare": [
        *("--source-lang", "--target-lang", "--trainpref", "--validpref", "--testpref"),
        *("--destdir", "--vocab-size", "--bpe-merges", "--vocab-threshold", "--lowercase"),
        *("--tokenizer", "--no-tokenize", "--max-length", "--max-ratio", "--vocab-from"),
        "--workers",
    ],
    "translate": [
        *(*MODEL, "FILE", "--output", "--beam", "--lenpen", "--nbest", "--scores", "--alignment"),
        *("--batch-size", "--buffer-size", "--max-source-length", "--truncate", "--json"),
    ],
    "serve": [*MODEL, "--host", "--port"],
    "average": [
        *("--inputs", "--output", "--num-epoch-checkpoints", "--num-update-checkpoints"),
        *("--num-best-checkpoints", "--checkpoint-upper-bound"),
    ],
    "score": ["TRANSLATIONS", "REFERENCE", "LANG", "-lc"],
    "plot": ["curves", "attention", "memory"],
    "convert": [
        *("--variables", "--parameters", "--source-vocab", "--target-vocab", "--source-lang"),
        *("--target-lang", "--destdir"),
    ],
    "export": ["CHECKPOINT", "DATA", "--destdir"],
    "prepare-lm": [
        *("--trainpref", "--validpref", "--testpref", "--destdir", "--words", "--vocab-size"),
        *("--lowercase", "--workers"),
    ],
    "generate": [
        *("MODEL", "FILE", "--prompt", "--length", "--temperature", "--top-k", "--top-p"),
        *("--seed", "--data", "--device"),
    ],
    "prepare-labelled": [
        *("--kind", "--trainpref", "--validpref", "--testpref", "--destdir", "--tag-scheme"),
        *("--tokenizer", "--language", "--vocab-size", "--lowercase", "--threshold", "--vectors"),
        *("--all-vectors", "--no-characters", "--workers"),
    ],
    "classify": [*LABELLING, "--all"],
    "tag": [*LABELLING, "--tokenizer", "--columns"],
    "answer": [*LABELLING, "--squad", "--max-answer-distance"],
}


def output_of(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        main(list(arguments))
    assert error.value.code == 0
    return capsys.readouterr().out


def test_every_command_is_here():
    assert load_commands().keys() == OPTIONS.keys()


@pytest.mark.parametrize("command", OPTIONS)
def test_help(capsys, command):
    text = output_of(capsys, command, "--help")
    for option in OPTIONS[command]:
        assert option in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    "arguments, files",
    [
        (["answer", "m", "--squad", "a.json"], ["a.json"]),
        (["translate", "m", "--beam", "4", "a", "-"], ["a", "-"]),
        (["translate", "m", "a", "--beam", "4", "b"], ["a", "b"]),
        (["classify", "--output", "o", "m", "a"], ["a"]),
        (["tag", "m", "--output", "o"], []),
        (["generate", "m", "--length", "3", "a"], ["a"]),
    ],
)
def test_options_may_stand_between_model_and_files(arguments, files):
    args = build_main_parser(load_commands()).parse_args(arguments)
    assert (args.model, args.files) == ("m", files)


def test_missing_model(capsys):
    with pytest.raises(SystemExit):
        main(["translate", "--beam", "4"])
    assert "the following arguments are required: MODEL\n" in capsys.readouterr().err


def test_every_argument_is_explained():
    """All arguments have a help text, those of the kinds of plot included."""
    parsers = [build_main_parser(load_commands())]
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action.choices, dict):
                parsers += action.choices.values()
            elif action.dest not in ("checkpoint", "help"):
                assert action.help, action


def test_help_of_the_whole(capsys):
    text = output_of(capsys, "--help")
    for command, module in load_commands().items():
        # A long line of help is broken.
        assert re.search(rf" {command}\s", text) and module.HELP in " ".join(text.split())


def test_version(capsys):
    assert output_of(capsys, "--version") == f"fairseq_lrn {__version__}\n"


@pytest.mark.parametrize(
    "variable, message",
    [
        ("FAIRSEQ_LRN_BACKEND", "FAIRSEQ_LRN_BACKEND='abacus' is unknown; choose from"),
        ("FAIRSEQ_LRN_PRODUCTS", "FAIRSEQ_LRN_PRODUCTS must be auto, torch or onednn, not abacus"),
    ],
)
def test_wrong_setting(capsys, monkeypatch, variable, message):
    monkeypatch.setenv(variable, "abacus")
    monkeypatch.setattr("fairseq_lrn.commands.translate.main", lambda args: dispatch.choose("cpu"))
    products.library_in_use.cache_clear()
    with pytest.raises(SystemExit) as error:
        main(["translate", "model"])
    assert error.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("arguments", [[], ["frobnicate"]])
def test_unknown_command(capsys, arguments):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: fairseq-lrn" in capsys.readouterr().err
