"""Time and memory against the length."""

import pytest

from benchmarks import scaling
from benchmarks.scaling import Cost
from fairseq_lrn.errors import InputError


@pytest.fixture
def tiny(monkeypatch):
    """Models that are built in no time."""
    monkeypatch.setattr(scaling, "MODELS", {"lrn": ["--arch", "lrn_tiny"]})
    monkeypatch.setattr(scaling, "SYMBOLS", 50)


@pytest.mark.parametrize("kind", scaling.KINDS)
def test_one_measurement(tiny, kind):
    result = scaling.run("lrn", kind, 12, 2)
    assert result["seconds"] > 0 and result["memory"] > 50


def test_hypotheses_are_as_long_as_asked_for(tiny):
    import torch

    from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator

    model, dictionary = scaling.build("lrn", 12)
    lengths = []

    class Spy(RecurrentSequenceGenerator):
        def generate(self, models, sample):
            found = super().generate(models, sample)
            lengths.extend(len(one["tokens"]) for hypotheses in found for one in hypotheses)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fairseq_lrn.generation.beam_search.RecurrentSequenceGenerator", Spy)
        source = torch.randint(4, 50, (2, 12))
        scaling._generate(model, dictionary, source, torch.tensor([12, 12]), source)
    assert set(lengths[-10:]) == {12}


def test_table_and_plot(tmp_path):
    costs = [
        Cost(model, kind, length, batch=2, seconds=0.5, memory=300.0)
        for kind in scaling.KINDS
        for length in (16, 32)
        for model in ("lrn", "lstm")
    ]
    assert scaling.format_row(costs[0]) == "| train | 16 | 2 | lrn | 0.50 | 31.25 | 300 |"
    assert scaling.HEAD.splitlines()[0].count("|") == scaling.format_row(costs[0]).count("|")
    scaling.plot(costs, str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_fails():
    with pytest.raises(InputError, match="train of gru with 16 tokens a sentence failed"):
        list(scaling.measure(["gru"], ["train"], [16]))


def test_what_is_known_is_not_measured_again():
    known = [Cost("gru", "train", 16, batch=2, seconds=0.5, memory=300.0)]
    assert list(scaling.measure(["gru"], ["train"], [16], tokens=32, known=known)) == known
    with pytest.raises(InputError, match="train of gru"):
        list(scaling.measure(["gru"], ["train"], [16], tokens=64, known=known))
