"""fairseq-lrn plot."""

import pytest

from fairseq_lrn.analysis import memory, plots

pytest.importorskip("matplotlib")
PICTURE = ["--output", "unused.png"]
SENTENCE = "The dog sees the cat."


def test_curves(run, tmp_path):
    log = tmp_path / "train.log"
    log.write_text(
        "valid | epoch 001 | valid on 'valid' subset | loss 4.0 | nll_loss 2.5 | num_updates 9\n"
    )
    for options in ([log], [tmp_path, log, "--metric", "loss"]):
        run("plot", "curves", *options, "--output", tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "curves.png").unlink()


def test_attention(run, untrained, tmp_path):
    output = tmp_path / "attention.png"
    printed = run("plot", "attention", untrained, SENTENCE, "--output", output)
    assert len(printed.splitlines()) == 1  # the translation
    assert output.read_bytes().startswith(b"\x89PNG")


def test_memory(run, untrained, prepared_data, tmp_path, monkeypatch):
    calls, results = [], []

    def recorded(translator, *arguments):
        calls.append(arguments)
        return original(translator, *arguments)

    original = memory.memory
    monkeypatch.setattr(memory, "memory", recorded)
    monkeypatch.setattr(plots, "draw_memory", lambda result, path: results.append(path))
    output = ["--output", tmp_path / "memory.png"]
    run("plot", "memory", untrained, SENTENCE, *output)
    run("plot", "memory", untrained, SENTENCE, "--backward", "--data", prepared_data, *output)
    assert calls == [(SENTENCE, 1, False), (SENTENCE, 1, True)]
    assert results == 2 * [str(tmp_path / "memory.png")]


def test_refused_input(refuse, untrained, tmp_path):
    message = refuse("plot", "curves", tmp_path, "--output", tmp_path / "curves.png")
    assert "cannot read" in message and "train.log" in message
    assert "the sentence is empty" in refuse("plot", "attention", untrained, " ", *PICTURE)
    assert "the sentence is empty" in refuse("plot", "memory", untrained, "", *PICTURE)
    options = ["--layer", 2, "--output", tmp_path / "memory.png"]
    assert "has no LRN layer 2" in refuse("plot", "memory", untrained, SENTENCE, *options)
    # Before a model is loaded.
    message = refuse("plot", "memory", tmp_path / "none", SENTENCE, "--output", "memory.gif")
    assert "memory.gif must end in one of .png" in message
