"""scripts/benchmark.py at sizes at which nothing is measured, only run."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from benchmarks import operator_speed as benchmark


def run(root, *arguments):
    return subprocess.run(
        [sys.executable, root / "scripts" / "benchmark.py", *map(str, arguments)],
        cwd=root,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "measure, peers",
    [
        ("scan", {"eager loop", "copy", "eager step"}),
        ("layer", {"LSTM", "GRU", "matrix products"}),
    ],
)
def test_table_and_file(root, tmp_path, measure, peers):
    result = run(
        root, measure, "--shape", "3,2,8", "--rounds", 1, "--json", tmp_path / "figures.json"
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["machine"]["torch"] == torch.__version__
    assert peers <= {comparison["peer"] for comparison in figures["comparisons"]}
    for comparison in figures["comparisons"]:
        ratio = comparison["theirs"] / comparison["ours"]
        assert f"| {comparison['peer']} | {comparison['theirs']:.3f} | {ratio:.2f} |" in (
            result.stdout
        )


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_plot(tmp_path):
    comparisons = [
        benchmark.Comparison("scan", (3, 2, 8), 1.0, "copy", 2.0),
        benchmark.Comparison("scan", (3, 2, 9), 1.0, "copy", 0.5),
    ]
    benchmark.plot(comparisons, str(tmp_path / "figures.png"))
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_times_are_in_milliseconds_and_candidates_take_turns():
    order = []

    def candidate(name, seconds):
        def call():
            order.append(name)
            end = benchmark.time.perf_counter() + seconds
            while benchmark.time.perf_counter() < end:
                pass

        return call

    candidates = {"long": candidate("long", 0.08), "short": candidate("short", 0.04)}
    times = benchmark.take_turns(candidates, 2, torch.device("cpu"))
    assert 80 <= times["long"] < 120 and 40 <= times["short"] < 60
    turns = [name for index, name in enumerate(order) if index == 0 or order[index - 1] != name]
    assert turns == ["long", "short"] * 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["scan", "--shape", "3,2"], "invalid shape value: '3,2'"),
        (["scan", "--rounds", "0"], "error: --rounds must be at least 1"),
        pytest.param(
            ["layer", "--device", "cuda"],
            "error: --device cuda: torch finds no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_wrong_options(root, arguments, message):
    result = run(root, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
