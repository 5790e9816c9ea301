"""Reading speeds from fairseq's log. tests/end_to_end/test_benchmark.py has real runs."""

import json
import subprocess

import pytest

from benchmarks import training_speed
from fairseq_lrn.errors import InputError


def logged(words, returncode=0, error=""):
    """A finished run of fairseq-train whose log has these words per second."""
    lines = [
        "2026 | INFO | train_inner | " + json.dumps({"epoch": 1, "wps": str(speed)})
        for speed in words
    ]
    output = "\n".join(["2026 | INFO | fairseq | noise", *lines])
    return subprocess.CompletedProcess([], returncode, output, error)


def test_candidates_take_turns_and_the_first_interval_is_not_counted(monkeypatch):
    turns = []

    def run(command, **options):
        turns.append(command[command.index("--arch") + 1])
        return logged([1, 100 * len(turns), 100 * len(turns) + 1])

    monkeypatch.setattr(subprocess, "run", run)
    chosen = [training_speed.Candidate(name, ["--arch", name]) for name in ("lrn", "lstm")]
    speeds = training_speed.measure("data", "fairseq_lrn", chosen, rounds=2)
    assert turns == ["lrn", "lstm"] * 2
    assert speeds[0].words == [100, 101, 300, 301]
    assert speeds[0].median == 200.5
    rows = training_speed.format_table(speeds).splitlines()
    assert rows[2] == "| lrn | 200 | 100 to 301 | 1.00 |"
    assert rows[3] == "| lstm | 300 | 200 to 401 | 0.67 |"


def test_skipped_updates_are_not_counted(monkeypatch):
    def run(command, **options):
        assert command[command.index("--max-update") + 1] == "25"
        assert command[command.index("--train-subset") + 1] == "valid"
        return logged([1, 2, 3, 4, 5])

    monkeypatch.setattr(subprocess, "run", run)
    chosen = [training_speed.Candidate("lrn", [])]
    (speed,) = training_speed.measure(
        "data", "fairseq_lrn", chosen, 1, 10, subset="valid", skipped=15
    )
    assert speed.words == [4, 5]


@pytest.mark.parametrize("available", [True, False])
def test_huge_pages_only_where_available(monkeypatch, available):
    requested = []

    def run(command, env, **options):
        requested.append(env.get("GLIBC_TUNABLES"))
        return logged([1, 2])

    monkeypatch.setattr(training_speed, "has_huge_pages", lambda: available)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    chosen = training_speed.candidates("multi30k")
    training_speed.measure("data", "fairseq_lrn", chosen, rounds=1)
    names = [candidate.name for candidate, value in zip(chosen, requested) if value is not None]
    both = ["lrn_multi30k", "transformer, tiny, our loss and torch's Adam"]
    assert names == ([f"{name}, huge pages" for name in both] if available else [])
    assert set(requested) <= {None, "glibc.malloc.hugetlb=1"}


@pytest.mark.parametrize("setting", training_speed.SETTINGS)
def test_first_and_last_candidates(setting):
    """The models of this package come first; the peers have fairseq's own loss and Adam."""
    chosen = training_speed.candidates(setting)
    assert chosen[0].name.startswith("lrn") and "fused_label" in " ".join(chosen[0].options)
    assert len({candidate.name for candidate in chosen}) == len(chosen)
    peers = ("transformer", "transformer, tiny")
    (peer,) = (candidate for candidate in chosen if candidate.name in peers)
    assert peer.options[-4:] == training_speed.FAIRSEQ


@pytest.mark.parametrize("result", [logged([1, 2], 1, "no such data"), logged([1])])
def test_failed_run(monkeypatch, result):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    with pytest.raises(InputError, match="training lrn on data failed; its last output was"):
        training_speed.measure("data", "fairseq_lrn", [training_speed.Candidate("lrn", [])])
