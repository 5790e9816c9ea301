"""Timing a training step with each cell, at small sizes."""

from benchmarks import cell_speed, operator_speed
from benchmarks.cell_speed import Size, Step


def test_measure(monkeypatch):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    size = Size(8, 2, 3, tokens=5, vocabulary=20)
    steps = cell_speed.measure(rounds=1, sizes=[size], cells=["lrn", "gru"])
    assert [(step.size, step.cell) for step in steps] == [(size, "lrn"), (size, "gru")]
    assert all(step.milliseconds > 0 for step in steps)


def test_table():
    steps = [Step(Size(128, 2, 150), "lrn", 50.0), Step(Size(128, 2, 150), "gru", 100.0)]
    head, _, row, last = cell_speed.format_table(steps).splitlines()
    assert row == "| 128 | 2 + 2 | 150 | lrn | 50 | 0.50 |"
    assert last.endswith("| 1.00 |")
    assert cell_speed.format_table(steps[:1]).endswith("| 50 | - |")
    assert head.count("|") == row.count("|")
