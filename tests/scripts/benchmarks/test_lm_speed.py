"""Timing language models, at small sizes."""

import pytest

from benchmarks import lm_speed, operator_speed
from benchmarks.lm_speed import Speed, TokenTime
from fairseq_lrn.errors import InputError

TRANSFORMER = ["--decoder-embed-dim", "16", "--decoder-input-dim", "16"]
TRANSFORMER += ["--decoder-output-dim", "16"]
SMALL = ["--decoder-embed-dim", "16", "--decoder-hidden-size", "12"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    models = {}
    for name, (arguments, _) in lm_speed.MODELS.items():
        sizes = SMALL if "transformer" not in name else TRANSFORMER
        sizes = [*sizes, "--decoder-out-embed-dim", "16"] if name == "lstm_lm" else sizes
        models[name] = [*arguments, *sizes], (2, 5)
    monkeypatch.setattr(lm_speed, "MODELS", models)


def test_measure(small):
    speeds = lm_speed.measure(rounds=1, vocabulary=30, bfloat16=False)
    assert [speed.model for speed in speeds] == [
        name for name in lm_speed.MODELS if "bfloat16" not in name
    ]
    assert all(min(speed.training, speed.evaluation) > 0 for speed in speeds)


def test_generation(small):
    times = lm_speed.measure_generation([2, 30], vocabulary=30)
    assert [(time.model, time.position) for time in times] == [
        *(("lrn", 2), ("lrn", 30), ("transformer_lm", 2), ("transformer_lm", 30)),
    ]
    assert all(time.milliseconds > 0 for time in times)
    (only,) = lm_speed.measure_generation([2], ["lrn", "lstm_lm"], vocabulary=30)
    assert only.model == "lrn"
    with pytest.raises(InputError, match="no bfloat16: give other --models"):
        lm_speed.measure(rounds=1, names=["lrn, bfloat16"], vocabulary=30, bfloat16=False)


def test_models_take_turns(small, monkeypatch):
    turns = []

    def record(model, tokens):
        for _ in range(tokens.size(1)):
            turns.append(type(model).__name__)
            yield 0.001

    monkeypatch.setattr(lm_speed, "_token_times", record)
    lm_speed.measure_generation([2], vocabulary=30)
    assert turns[:4] == 2 * ["LRNLanguageModel", "TransformerLanguageModel"]


def test_equal_numbers_of_parameters():
    """Within 3% of each other, at the sizes that are measured."""
    with lm_speed.dictionary_directory(lm_speed.VOCABULARY) as data:
        counts = [
            sum(p.numel() for p in lm_speed.build(name, data, 30).trainee.model.parameters())
            for name in lm_speed.MODELS
        ]
    assert max(counts) < 1.03 * min(counts)


def test_table(tmp_path):
    speeds = [Speed("lrn", 6_200_000, 3000.0, 9000.0), Speed("lstm_lm", 6_100_000, 1000.0, 4500.0)]
    times = [TokenTime("lrn", 16, 0.5), TokenTime("lrn", 256, 0.51)]
    lines = lm_speed.format_table(speeds, times).splitlines()
    assert lines[3] == "| lstm_lm | 6.10 | 1000 | 3.00 | 4500 | 2.00 |"
    assert lines[5] == "| ms per generated token, after | 16 | 256 |"
    assert lines[7] == "| lrn | 0.50 | 0.51 |"
    assert len(lm_speed.format_table(speeds, []).splitlines()) == 4
    pytest.importorskip("matplotlib")
    lm_speed.plot(times, str(tmp_path / "tokens.png"))
    assert (tmp_path / "tokens.png").stat().st_size > 1000
