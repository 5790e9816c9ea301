"""Choosing candidates, and reading speeds. tests/end_to_end/test_benchmark.py has real runs."""

import importlib.util
import subprocess

import pytest
import torch

from benchmarks import generation_speed
from benchmarks.generation_speed import Candidate
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.linear import can_pack

OUTPUT = """\
S-0\tein Haus
T-0\ta house with a door
H-0\t-0.5\ta house with a door
2026 | INFO | Translated 1 sentences (6 tokens) in 0.5s ({speed:.2f} sentences/s, 12 tokens/s)
"""


@pytest.fixture(scope="module")
def transformer(save_model):
    return save_model("--arch", "transformer_iwslt_de_en", "--encoder-layers", "1")


def test_candidates(checkpoint, transformer):
    chosen = generation_speed.candidates([("lrn", checkpoint), ("peer", transformer)])
    rounded = [name for name in ("bfloat16", "int8") if can_pack(getattr(torch, name))]
    names = ["lrn", *(f"lrn, {name}" for name in rounded), "lrn, fairseq's search", "peer"]
    if importlib.util.find_spec("ctranslate2"):
        names += ["peer, CTranslate2 float32", "peer, CTranslate2 int8"]
    assert [candidate.name for candidate in chosen] == names
    assert chosen[0].options == ["--task", "translation_lrn"]
    (peer,) = generation_speed.candidates([("lrn", checkpoint), ("peer", transformer)], ["peer"])
    assert peer == Candidate("peer", transformer)


def test_candidates_with_one_name(checkpoint):
    with pytest.raises(InputError, match="two models are called lrn: give each --model its own"):
        generation_speed.candidates([("lrn", checkpoint)] * 2)


def test_candidates_take_turns(data, monkeypatch):
    commands = []

    def run(command, **options):
        _, _, _, peak, *generate = command
        commands.append(generate)
        with open(peak, "w") as file:
            file.write(str(2048 * len(commands)))
        return subprocess.CompletedProcess(command, 0, OUTPUT.format(speed=10 * len(commands)))

    monkeypatch.setattr(subprocess, "run", run)
    chosen = [Candidate("lrn", "lrn.pt", ["--task", "translation_lrn"]), Candidate("peer", "p.pt")]
    speeds = generation_speed.measure(data, "fairseq_lrn", chosen, [16], rounds=2)
    paths = [command[command.index("--path") + 1] for command in commands]
    assert paths == ["lrn.pt", "p.pt"] * 2
    assert "translation_lrn" in commands[0] and "translation_lrn" not in commands[1]
    assert [speed.sentences for speed in speeds] == [(10.0, 30.0), (20.0, 40.0)]
    assert speeds[0].median == 20 and speeds[0].tokens == 6 and speeds[1].memory == 8
    assert speeds[0].bleu == pytest.approx(100)
    head, _, row, peer = generation_speed.format_table(speeds).splitlines()
    assert head.count("|") == row.count("|")
    number = torch.get_num_threads()
    assert row == f"| lrn | 16 | {number} | 20.0 | 10.0 to 30.0 | 1.00 | 6.0 | 100.00 | 6 |"
    assert peer.startswith(f"| peer | 16 | {number} | 30.0 | 20.0 to 40.0 | 0.67 |")


def test_the_fastest_number_of_threads_counts(data, monkeypatch):
    found = {("lrn.pt", "1"): 30, ("lrn.pt", "2"): 50, ("peer.pt", "1"): 40, ("peer.pt", "2"): 10}

    def run(command, env, **options):
        _, _, _, peak, *generate = command
        with open(peak, "w") as file:
            file.write("2048")
        path = generate[generate.index("--path") + 1]
        speed = found[path, env["OMP_NUM_THREADS"]]
        return subprocess.CompletedProcess(command, 0, OUTPUT.format(speed=speed))

    monkeypatch.setattr(subprocess, "run", run)
    chosen = [Candidate("lrn", "lrn.pt"), Candidate("peer", "peer.pt")]
    speeds = generation_speed.measure(data, "fairseq_lrn", chosen, [1], 1, threads=[1, 2])
    assert [(speed.name, speed.threads, speed.median) for speed in speeds] == [
        ("lrn", 2, 50),
        ("peer", 1, 40),
    ]


def test_failed_run(data, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "no such model")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match="translating with lrn failed.*\nno such model"):
        generation_speed.measure(data, "fairseq_lrn", [Candidate("lrn", "lrn.pt")], [1], 1)


def test_missing_data(data, tmp_path):
    chosen = [Candidate("lrn", "lrn.pt")]
    (tmp_path / "dict.en.txt").touch()
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"{directory} has no prepared data: run fairseq-lrn"):
            generation_speed.measure(str(directory), "fairseq_lrn", chosen)
    with pytest.raises(InputError, match="has no subset dev; give another --subset"):
        generation_speed.measure(data, "fairseq_lrn", chosen, subset="dev")
