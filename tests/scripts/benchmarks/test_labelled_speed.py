"""Timing classifiers, taggers and readers, at small sizes."""

import pytest

from benchmarks import labelled_speed
from benchmarks.labelled_speed import LabelledSpeed, LengthCost
from labelled_corpus import pairs, questions, reviews, tagged

SIZES = " --word-embed-dim 8 --hidden-size 6 --character-embed-dim 4 --num-workers 0"


@pytest.mark.parametrize(
    "recipe, prepare",
    [("imdb", reviews), ("snli", pairs), ("conll2003", tagged), ("squad", questions)],
)
def test_measure(recipe, prepare, tmp_path, monkeypatch):
    data = prepare(tmp_path)
    (data / "vectors.txt").write_text("a" + 8 * " 1" + "\nin" + 8 * " 1" + "\n")
    monkeypatch.setattr(labelled_speed, "NUM_BATCHES", 2)
    small = {name: options + SIZES for name, options in labelled_speed.RECIPES.items()}
    monkeypatch.setattr(labelled_speed, "RECIPES", small)
    speeds = labelled_speed.measure(recipe, str(data), ("lrn", "gru"), rounds=1)
    assert [speed.cell for speed in speeds] == ["lrn", "gru"]
    assert all(min(speed.epoch, speed.inference) > 0 for speed in speeds)
    assert speeds[0].parameters < speeds[1].parameters


def test_batches_are_a_part_of_the_epoch(tmp_path, monkeypatch):
    data = reviews(tmp_path)
    (data / "vectors.txt").write_text("a" + 8 * " 1" + "\n")
    options = labelled_speed.RECIPES["imdb"].replace("--max-tokens 12000", "--batch-size 1")
    monkeypatch.setattr(labelled_speed, "RECIPES", {"imdb": options + SIZES})
    monkeypatch.setattr(labelled_speed, "NUM_BATCHES", 2)
    setup = labelled_speed.build("imdb", str(data), "lrn")
    assert len(setup.batches) == 2
    words = sum(batch["ntokens"] for batch in setup.batches)
    assert setup.share == pytest.approx(words / 19)


@pytest.mark.parametrize("recipe, prepare", [("imdb", reviews), ("squad", questions)])
def test_lengths(tmp_path, monkeypatch, recipe, prepare):
    data = prepare(tmp_path)
    (data / "vectors.txt").write_text("a" + 8 * " 1" + "\nin" + 8 * " 1" + "\n")
    small = {name: options + SIZES for name, options in labelled_speed.RECIPES.items()}
    monkeypatch.setattr(labelled_speed, "RECIPES", small)
    costs = labelled_speed.measure_lengths(recipe, str(data), "lrn", [40, 3], rounds=1)
    assert [cost.words for cost in costs] == [3, 40]
    assert costs[0].milliseconds > 0 and costs[1].megabytes >= costs[0].megabytes > 10
    rows = labelled_speed.format_lengths([LengthCost("lrn", 2000, 5.0, 300.0)]).splitlines()
    assert rows[2] == "| 2000 | 5.0 | 2.5 | 300 |"


def test_table():
    speeds = [LabelledSpeed("lrn", 100_000, 2.0, 300.0), LabelledSpeed("gru", 200_000, 5.0, 100.0)]
    lines = labelled_speed.format_table(speeds).splitlines()
    assert lines[2] == "| lrn | 100 | 2.0 | 1.00 | 300 | 1.00 |"
    assert lines[3] == "| gru | 200 | 5.0 | 2.50 | 100 | 3.00 |"
