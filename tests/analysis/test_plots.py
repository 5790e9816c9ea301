"""Plots as files."""

import struct
import sys

import pytest
import torch

from fairseq_lrn.analysis import plots
from fairseq_lrn.analysis.memory import Memory
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import Translation

pytest.importorskip("matplotlib")
LOG = (
    "2026 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 4.0 | nll_loss {} "
    "| ppl 5.66 | num_updates 100\n"
)
MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def log(tmp_path):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "train.log"
    path.write_text(LOG.format(2.5))
    return path


def translation(attention):
    return Translation("Hund", -1.0, ["dog", "."], ["Hund"], attention)


def drawn(monkeypatch):
    """The figures that are written from now on."""
    figures = []
    monkeypatch.setattr(plots, "write", lambda figure, path: figures.append(figure))
    return figures


def curves(panel):
    """The label and the points of each line."""
    return {line.get_label(): line.get_xydata().tolist() for line in panel.lines}


def test_training_and_validation(log, monkeypatch):
    inner = "2026 | INFO | train_inner | epoch 001: 5 / 8 nll_loss=8.5, num_updates=50\n"
    log.write_text(inner + LOG.format(2.5))
    figures = drawn(monkeypatch)
    plots.draw_curves([str(log)], "curves.png")
    (panel,) = figures[0].axes
    assert curves(panel) == {"training": [[50, 8.5]], "validation": [[100, 2.5]]}


def test_bleu(log, tmp_path, monkeypatch):
    """It has a panel of its own if one of the logs has it."""
    other = tmp_path / "train.log"
    other.write_text(LOG.format("2.5 | bleu 30.5"))
    figures = drawn(monkeypatch)
    plots.draw_curves([str(log), str(other)], "curves.png")
    loss, bleu = figures[0].axes
    assert len(curves(loss)) == 2 and loss.get_ylabel() == "nll_loss"
    assert list(curves(bleu).values()) == [[[100, 30.5]]] and bleu.get_ylabel() == "BLEU"
    plots.draw_curves([str(other)], "curves.png", "bleu")
    assert len(figures[1].axes) == 1


@pytest.mark.parametrize("suffix", MAGIC)
def test_curves(log, tmp_path, suffix):
    path = tmp_path / f"curves{suffix}"
    plots.draw_curves([str(log), str(log.parent)], str(path))
    assert path.read_bytes().startswith(MAGIC[suffix])


def test_attention(tmp_path):
    path = tmp_path / "attention.svg"
    plots.draw_attention(translation(torch.full((2, 3), 1 / 3)), str(path))
    assert all(f"<!-- {word} -->" in path.read_text() for word in ("dog", "Hund", "&lt;/s&gt;"))


def test_memory(tmp_path):
    path = tmp_path / "memory.svg"
    weights = torch.eye(3)
    memory = Memory(["\u2581the", "\u2581", "</s>"], weights, weights, torch.ones(3))
    plots.draw_memory(memory, str(path))
    assert "<!-- the -->" in path.read_text()


def test_size_of_a_large_picture(tmp_path):
    """Its resolution is lower: at the usual one, it would take gigabytes of memory."""
    path = tmp_path / "memory.PNG"
    weights = torch.eye(200)
    plots.draw_memory(Memory(200 * ["a"], weights, weights, torch.ones(200)), str(path))
    assert path.read_bytes().startswith(MAGIC[".png"])
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert height < width <= plots.MAX_PIXELS


def test_subword_labels():
    assert plots.subword_labels(["\u2581the", "\u2581", "og"]) == ["the", "\u2423", "og"]


def test_shortest_distinct_names():
    assert plots.distinct_names(["a/lrn-1/train.log", "a/lrn-2"]) == ["lrn-1", "lrn-2"]
    paths = ["a/lrn-1/train.log", "b/lrn-1"]
    assert plots.distinct_names(paths) == ["a/lrn-1", "b/lrn-1"]


def test_wrong_arguments(log, tmp_path):
    picture = str(tmp_path / "picture.png")
    long = Translation("", 0.0, 300 * ["a"], [], torch.ones(1, 301))
    large = Memory(201 * ["a"], torch.ones(201, 201), torch.ones(201, 201), torch.ones(201))
    for call, message in (
        (lambda: plots.draw_curves([str(tmp_path)], picture), "cannot read .*train.log"),
        (lambda: plots.draw_curves([str(log)], picture, "bleu"), "no bleu: choose from loss, nll"),
        (lambda: plots.draw_curves([str(log)], "picture.txt"), "must end in one of .png"),
        (lambda: plots.draw_curves([str(log)], str(tmp_path / "no" / "x.png")), "cannot write"),
        (lambda: plots.draw_attention(translation(None), picture), "ask for attention"),
        (lambda: plots.draw_attention(long, picture), "have 301 and 1 words, more than the limit"),
        (lambda: plots.draw_memory(large, picture), "has 201 subwords, more than the limit of 200"),
        (lambda: plots.draw_attention(Translation("", 0.0, [], []), picture), "is empty: give a"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert not (tmp_path / "picture.png").exists()


def test_without_matplotlib(log, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="plots need matplotlib: pip install matplotlib"):
        plots.draw_curves([str(log)], str(tmp_path / "curves.png"))
