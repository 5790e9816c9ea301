"""The logic of the GPU report, without a GPU."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from fairseq import options

import fairseq_lrn  # noqa: F401  (registers the architectures)
import gpu_report
from fairseq_lrn.errors import InputError
from gpu_report import (
    PRECISIONS,
    Outcome,
    Step,
    format_report,
    read_outcomes,
    run_all,
    steps,
    words_per_second,
    write_outcomes,
)

LINE = '2026 | INFO | train_inner | {"epoch": 1, "update": 0.1, "wps": "%s"}\n'


def python(group, name, code, seconds=30.0):
    return Step(group, name, seconds, [sys.executable, "-c", code])


def test_steps_that_fail_or_hang_cost_only_their_share(tmp_path):
    hanging = "import subprocess, sys; print('start', flush=True)\n"
    hanging += "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    chosen = [
        python("scan", "good", "print('| a table |')"),
        python("scan", "bad", "import sys; print('| half |'); sys.exit(3)"),
        python("scan", "hanging", hanging, seconds=2.0),
        Step("scan", "absent", 30, ["no-such-command"]),
        python("layer", "after", "for row in 'aba': print(f'| {row} |')"),
        python("profile", "slow", "for row in 'aba': print(f'| {row} 1')"),
    ]
    reported = []
    started = time.monotonic()
    outcomes = run_all(chosen, tmp_path, 60, lambda found: reported.append(len(found)))
    assert time.monotonic() - started < 30
    states = ["done", "failed (3)", "stopped", "failed", "done", "done"]
    assert [outcome.state for outcome in outcomes] == states
    assert reported == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "hanging.txt").read_text().startswith("start\n")
    assert "no-such-command" in (tmp_path / "absent.txt").read_text()
    report = format_report(outcomes, tmp_path, "a GPU")
    assert report.startswith("Hardware: a GPU\n")
    for line in ("| a table |", "| half |", "| hanging | stopped | 2 |"):
        assert line in report.splitlines()
    assert "after:\n\n| b |\n| a |\n" in report  # rows that were printed twice, in the last order
    assert "slow:\n\n```\na 1\nb 1\na 1\n```\n" in report  # two tables with the same operator


def test_a_step_that_is_stopped_prints_what_it_has(tmp_path):
    code = "import time\ntry:\n    print('begun', flush=True); time.sleep(60)\n"
    code += "except KeyboardInterrupt:\n    print('| summary |')\n"
    (outcome,) = run_all([python("tests", "long", code, 3.0)], tmp_path, 60, lambda found: None)
    assert outcome.state == "stopped" and outcome.seconds < 20
    assert "| summary |" in format_report([outcome], tmp_path, "a GPU").splitlines()


def test_a_second_run_goes_on(tmp_path):
    counts = "import pathlib; file = pathlib.Path('COUNT'); file.open('a').write('x')"
    chosen = [
        python("scan", name, counts.replace("COUNT", str(tmp_path / name)) + end)
        for name, end in (("done", ""), ("bad", "; raise SystemExit(2)"), ("late", ""))
    ]
    first = run_all(chosen[:2], tmp_path, 60, lambda found: None)
    write_outcomes(first, tmp_path)
    known = read_outcomes(tmp_path, chosen)
    assert {name: outcome.state for name, outcome in known.items()} == {
        "done": "done",
        "bad": "failed (2)",
    }
    again = run_all(chosen, tmp_path, 60, lambda found: None, known)
    assert [outcome.state for outcome in again] == ["done", "failed (2)", "done"]
    assert [(tmp_path / step.name).read_text() for step in chosen] == ["x", "xx", "x"]
    # What there is no time for keeps its outcome.
    late = run_all(chosen, tmp_path, 0, lambda found: None, known)
    assert [outcome.state for outcome in late] == ["done", "failed (2)", "skipped"]


def test_the_time_for_all_steps(tmp_path):
    chosen = [python("scan", "long", "import time; time.sleep(60)"), python("scan", "late", "")]
    (tmp_path / "late.txt").write_text("| a table of an earlier report |")
    outcomes = run_all(chosen, tmp_path, 2, lambda found: None)
    assert [outcome.state for outcome in outcomes] == ["stopped", "skipped"]
    assert "earlier" not in format_report(outcomes, tmp_path, "a GPU")


def test_an_interrupt_ends_the_step(tmp_path, monkeypatch):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    output, wait = tmp_path / "long.txt", subprocess.Popen.wait

    def interrupted(process, timeout=None):
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        while not output.read_text().endswith("\n"):
            time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all([python("scan", "long", code)], tmp_path, 60, lambda found: None)
    with pytest.raises(ProcessLookupError):
        os.kill(int(output.read_text().splitlines()[0]), 0)


def test_training_speed(tmp_path):
    text = "".join(LINE % speed for speed in (1, 100, 300, 200, 400)) + '{"epoch": broken\n'
    assert words_per_second(text) == 300
    assert words_per_second("nothing") is None
    assert words_per_second(LINE % 1) is None  # the first updates are slower
    slow = "kernels on cuda: reference, which is slow"
    (tmp_path / "train-lrn_512-fp16.txt").write_text(text)
    (tmp_path / "train-lrn_512-bf16.txt").write_text(f"{slow}\n{text}")
    outcomes = [
        Outcome(python("train", f"train-lrn_512-{name}", ""), state, 1.0)
        for name, state in (("bf16", "done"), ("fp16", "done"), ("amp", "failed (1)"))
    ]
    assert "| lrn_512 | - | 300, reference | 300 | failed (1) |" in format_report(
        outcomes, tmp_path, "a GPU"
    )


def test_the_steps(tmp_path):
    chosen = steps(tmp_path)
    names = [step.name for step in chosen]
    assert len(set(names)) == len(names)
    groups = list(dict.fromkeys(step.group for step in chosen))
    rest = ["smoke", "tests", "scan", "layer", "train", "half", "generate", "profile"]
    assert groups == ["data", *rest]
    others = steps(tmp_path, tmp_path / "mine")
    assert list(dict.fromkeys(step.group for step in others)) == rest
    assert all(str(tmp_path / "mine") in s.command for s in others if s.group == "train")
    # What is needed most comes first, also where the time is short.
    trained = [name for name in names if name.startswith("train-")]
    assert trained[:2] == ["train-lrn_512-float32", "train-lrn_512-bf16"]
    for model in ("lrn_multi30k", "lrn_wmt_en_de", "lrn_rnmt_wmt_en_de", "lstm_1024"):
        for precision in PRECISIONS:
            assert f"train-{model}-{precision}" in names


@pytest.mark.parametrize(
    "model, precision",
    [
        *((model, "float32") for model in {**gpu_report.MODELS, "transformer_lrn_512": ()}),
        *(("lrn_512", precision) for precision in PRECISIONS if precision != "float32"),
    ],
)
def test_training_commands_are_valid(tmp_path, model, precision):
    command = gpu_report.training_command(model, precision, tmp_path, tmp_path)
    assert command[1:3] == ["-m", "fairseq_cli.train"]
    data, *arguments = command[3:]
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, [data, *arguments])
    assert args.max_update == 30 and args.arch
    assert args.no_save == (precision != "float32" or model not in gpu_report.GENERATING)


def test_it_runs_without_installation(root, tmp_path):
    """The script says where the package is; PYTHON names the interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        ["bash", "scripts/gpu_report.sh", tmp_path / "out"],
        cwd=root,
        env={**environment, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and "torch finds no GPU" in result.stderr


def test_profile(monkeypatch, capsys):
    """The first updates are not in it."""
    from fairseq.trainer import Trainer

    updates = []

    def train_step(trainer):
        torch.ones(3).sum() if trainer.get_num_updates() < 6 else torch.ones(3).cumsum(0)

    def train():
        for update in range(gpu_report.PROFILED_UPDATES):
            trainer = SimpleNamespace(get_num_updates=lambda update=update: update)
            Trainer.train_step(trainer)
            updates.append(update)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    monkeypatch.setattr("fairseq_cli.train.cli_main", train)
    monkeypatch.setattr(sys, "argv", [])
    gpu_report.profile_training(["data"])
    printed = capsys.readouterr().out
    assert updates == list(range(12)) and sys.argv == ["fairseq-train", "data"]
    assert "aten::cumsum" in printed and "aten::sum" not in printed
    assert all(line.startswith("| ") for line in printed.splitlines())


def test_without_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu_report.py", str(tmp_path / "out")])
    monkeypatch.setattr(gpu_report.torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no GPU"):
        gpu_report.main()
    assert not (tmp_path / "out").exists()
