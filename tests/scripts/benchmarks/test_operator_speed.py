"""Timing the recurrence and its layer, at small sizes."""

import importlib.util

import pytest
import torch

from benchmarks import operator_speed
from benchmarks.operator_speed import Comparison


@pytest.mark.parametrize(
    "measure, peers",
    [
        (operator_speed.scan, {"eager loop", "copy", "eager step"}),
        (operator_speed.layer, {"LSTM", "GRU", "matrix products"}),
    ],
)
def test_measure(monkeypatch, measure, peers):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    comparisons = measure([(3, 2, 8)], rounds=1)
    assert peers <= {comparison.peer for comparison in comparisons}
    assert all(comparison.lrn_ms > 0 and comparison.peer_ms > 0 for comparison in comparisons)
    assert (3, 2, 8) in {comparison.shape for comparison in comparisons}


def test_table():
    comparisons = [Comparison("scan", (3, 2, 8), 2.0, "copy", 1.0)]
    head, _, row = operator_speed.format_table(comparisons).splitlines()
    assert row == "| scan | 3, 2, 8 | 2.000 | copy | 1.000 | 0.50 | 2.00 |"
    assert head.count("|") == row.count("|")


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_plot(tmp_path):
    comparisons = [
        Comparison("scan", (3, 2, 8), 1.0, "copy", 2.0),
        Comparison("scan", (3, 2, 9), 1.0, "copy", 0.5),
    ]
    operator_speed.plot(comparisons, str(tmp_path / "figures.png"))
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_times_are_in_milliseconds_and_candidates_take_turns():
    order = []

    def candidate(name, seconds):
        def call():
            order.append(name)
            end = operator_speed.time.perf_counter() + seconds
            while operator_speed.time.perf_counter() < end:
                pass

        return call

    candidates = {"long": candidate("long", 0.08), "short": candidate("short", 0.04)}
    times = operator_speed.take_turns(candidates, 2, torch.device("cpu"))
    assert 80 <= times["long"] < 120 and 40 <= times["short"] < 60
    turns = [name for index, name in enumerate(order) if index == 0 or order[index - 1] != name]
    assert turns == ["long", "short"] * 3


def test_a_gpu_gets_a_larger_shape():
    shapes = operator_speed.SCAN_SHAPES
    assert operator_speed.default_shapes(shapes, torch.device("cpu")) == [*shapes]
    assert len(operator_speed.default_shapes(shapes, torch.device("cuda"))) == len(shapes) + 1
