"""scripts/benchmark.py train: what it makes of fairseq's log. The runs are in end_to_end."""

import json
import subprocess
import sys

import pytest

from benchmarks import model_options, training_speed
from fairseq_lrn.errors import InputError


def logged(words, returncode=0, error=""):
    lines = [
        "2026 | INFO | train_inner | " + json.dumps({"epoch": 1, "wps": str(one)}) for one in words
    ]
    output = "\n".join(["2026 | INFO | fairseq | noise", *lines])
    return subprocess.CompletedProcess([], returncode, output, error)


def test_candidates_take_turns_and_the_first_interval_is_left_out(monkeypatch):
    turns = []

    def run(command, **options):
        turns.append(command[command.index("--arch") + 1])
        return logged([1, 100 * len(turns), 100 * len(turns) + 1])

    monkeypatch.setattr(subprocess, "run", run)
    chosen = [training_speed.Candidate(name, ["--arch", name]) for name in ("ours", "theirs")]
    speeds = training_speed.measure("data", "fairseq_lrn", chosen, rounds=2)
    assert turns == ["ours", "theirs"] * 2
    assert speeds[0].words == [100, 101, 300, 301]
    assert speeds[0].median == 200.5
    rows = training_speed.format_table(speeds).splitlines()
    assert rows[2] == "| ours | 200 | 100 to 301 | 1.00 |"
    assert rows[3] == "| theirs | 300 | 200 to 401 | 0.67 |"


def test_more_updates_are_left_out(monkeypatch):
    def run(command, **options):
        assert command[command.index("--max-update") + 1] == "25"
        assert command[command.index("--train-subset") + 1] == "valid"
        return logged([1, 2, 3, 4, 5])

    monkeypatch.setattr(subprocess, "run", run)
    ours = [training_speed.Candidate("ours", [])]
    (speed,) = training_speed.measure(
        "data", "fairseq_lrn", ours, 1, 10, subset="valid", skipped=15
    )
    assert speed.words == [4, 5]


@pytest.mark.parametrize("there", [True, False])
def test_huge_pages_where_glibc_can_be_asked_for_them(monkeypatch, there):
    asked = []

    def run(command, env, **options):
        asked.append(env.get("GLIBC_TUNABLES"))
        return logged([1, 2])

    monkeypatch.setattr(training_speed, "has_huge_pages", lambda: there)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    chosen = training_speed.candidates("multi30k")
    training_speed.measure("data", "fairseq_lrn", chosen, rounds=1)
    names = [one.name for one, tunables in zip(chosen, asked) if tunables is not None]
    both = ["lrn_multi30k", "transformer, tiny, our loss and torch's Adam"]
    assert names == ([f"{name}, huge pages" for name in both] if there else [])
    assert set(asked) <= {None, "glibc.malloc.hugetlb=1"}


@pytest.mark.parametrize("setting", training_speed.SETTINGS)
def test_ours_first_and_the_peers_as_fairseq_ships_them(setting):
    chosen = training_speed.candidates(setting)
    assert chosen[0].name.startswith("lrn") and "fused_label" in " ".join(chosen[0].options)
    assert len({candidate.name for candidate in chosen}) == len(chosen)
    (peer,) = (one for one in chosen if one.name in ("transformer", "transformer, tiny"))
    assert peer.options[-4:] == training_speed.FAIRSEQ


def test_options_are_printed_without_the_package():
    """As the recipes take them, once for each model."""
    command = [sys.executable, "-I", model_options.__file__, "lstm_512"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == model_options.ARCHITECTURES["lstm_512"]


@pytest.mark.parametrize("result", [logged([1, 2], 1, "no such data"), logged([1])])
def test_a_run_that_fails(monkeypatch, result):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    with pytest.raises(InputError, match="training ours on data failed; its last output was"):
        training_speed.measure("data", "fairseq_lrn", [training_speed.Candidate("ours", [])])
