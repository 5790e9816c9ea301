"""Measuring time and memory as sentences grow, with tiny models."""

import importlib.util
import subprocess

import pytest

from benchmarks import scaling
from benchmarks.scaling import Cost
from fairseq_lrn.errors import InputError


@pytest.fixture
def tiny(monkeypatch):
    """Replaces the models by a small one."""
    monkeypatch.setattr(scaling, "MODELS", {"lrn": ["--arch", "lrn_tiny"]})
    monkeypatch.setattr(scaling, "VOCABULARY_SIZE", 50)


@pytest.mark.parametrize("kind", scaling.KINDS)
def test_measurement(tiny, kind):
    result = scaling.run("lrn", kind, 12, 2)
    assert result["seconds"] > 0 and result["memory"] > 50


def test_hypotheses_have_the_requested_length(tiny, monkeypatch):
    import torch

    from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator

    model, dictionary = scaling.build("lrn", 12)
    lengths = []

    class Spy(RecurrentSequenceGenerator):
        def generate(self, models, sample):
            found = super().generate(models, sample)
            lengths.extend(len(best["tokens"]) for hypotheses in found for best in hypotheses)
            return found

    monkeypatch.setattr("fairseq_lrn.generation.beam_search.RecurrentSequenceGenerator", Spy)
    source = torch.randint(4, 50, (2, 12))
    scaling._generate(model, dictionary, source, torch.tensor([12, 12]), source)
    assert set(lengths[-10:]) == {12}


COSTS = [
    Cost(model, kind, length, batch=2, seconds=0.5, memory=300.0)
    for kind in scaling.KINDS
    for length in (16, 32)
    for model in ("lrn", "lstm")
]


def test_table():
    row = scaling.format_row(COSTS[0])
    assert row == "| train | 16 | 2 | lrn | 0.50 | 31.25 | 300 |"
    assert scaling.HEAD.splitlines()[0].count("|") == row.count("|")


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_plot(tmp_path):
    scaling.plot(COSTS, str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_failed_run():
    with pytest.raises(InputError, match="train of gru with 16 tokens per sentence failed"):
        list(scaling.measure(["gru"], ["train"], [16]))


def test_known_figures_are_not_measured_again(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "measured again")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    known = [Cost("gru", "train", 16, batch=2, seconds=0.5, memory=300.0)]
    assert list(scaling.measure(["gru"], ["train"], [16], tokens=32, known=known)) == known
    with pytest.raises(InputError, match="measured again"):
        list(scaling.measure(["gru"], ["train"], [16], tokens=64, known=known))
