"""fairseq-lrn generate."""

import io

import pytest

from fairseq_lrn.generation.language_model import load_language_model


@pytest.fixture
def model(lm_checkpoints):
    return load_language_model(lm_checkpoints, device="cpu")


def test_prompt(run, lm_checkpoints, model):
    options = "--length", "40", "--seed", "3", "--top-k", "4", "--device", "cpu"
    text = run("generate", lm_checkpoints, "--prompt", "a b", *options)
    assert text == model.generate("a b", length=40, seed=3, top_k=4) + "\n"
    assert run("generate", lm_checkpoints, "--prompt", "", *options).count(" ") > 10


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_a_file(run, lm_checkpoints, model, tmp_path, end):
    """One line for each line, up to </s>."""
    path = tmp_path / "beginnings.txt"
    path.write_bytes(f"a b{end}{end}c".encode())
    options = "--length", "30", "--seed", "5", "--device", "cpu"
    lines = run("generate", lm_checkpoints, path, *options).split("\n")
    expected = [
        model.generate(line, length=30, seed=5 + number).split("\n")[0]
        for number, line in enumerate(["a b", "", "c"])
    ]
    assert lines == [*expected, ""]


def test_standard_input(run, lm_checkpoints, monkeypatch, tmp_path):
    path = tmp_path / "in"
    path.write_text("a\nb\n")
    with open(path) as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file.buffer))
        text = run("generate", lm_checkpoints, "--length", "3", "--temperature", "0")
    assert text.count("\n") == 2


def test_prompt_and_output_can_be_joined(run, lm_checkpoints):
    options = "--length", "3", "--temperature", "0", "--device", "cpu"
    for prompt, beginning in (("a b", " "), ("a ", ""), ("", "")):
        text = run("generate", lm_checkpoints, "--prompt", prompt, *options)
        assert text[: len(text) - len(text.lstrip(" "))] == beginning


def test_refused(refuse, lm_checkpoints):
    message = refuse("generate", lm_checkpoints, "beginnings.txt", "--prompt", "a")
    assert "--prompt has no effect with files of beginnings: give one of them" in message
    message = refuse("generate", lm_checkpoints, "--prompt", "a", "--top-p", "2")
    assert message.endswith("error: top_p must be a number above 0 and at most 1, not 2.0\n")
    assert "has no averaged.pt" in refuse("generate", lm_checkpoints.parent, "--prompt", "a")
