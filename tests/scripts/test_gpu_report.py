"""The logic of the GPU report, without a GPU."""

import os
import subprocess
import sys
import time

import pytest
from fairseq import options

import fairseq_lrn  # noqa: F401  (registers the architectures)
import gpu_report
from fairseq_lrn.errors import InputError
from gpu_report import PRECISIONS, Outcome, Step, format_report, run_all, steps, words_per_second

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
        python("layer", "after", "print('| last |')"),
    ]
    reported = []
    started = time.monotonic()
    outcomes = run_all(chosen, tmp_path, 60, lambda found: reported.append(len(found)))
    assert time.monotonic() - started < 30
    assert [outcome.state for outcome in outcomes] == ["done", "failed (3)", "stopped", "done"]
    assert reported == [1, 2, 3, 4]
    assert (tmp_path / "hanging.txt").read_text() == "start\n"
    report = format_report(outcomes, tmp_path, "a GPU")
    assert report.startswith("Hardware: a GPU\n")
    for line in ("| a table |", "| half |", "| last |", "| hanging | stopped | 2 |"):
        assert line in report.splitlines()


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
        os.kill(int(output.read_text()), 0)


def test_training_speed(tmp_path):
    text = "".join(LINE % speed for speed in (1, 100, 300, 200, 400)) + '{"epoch": broken\n'
    assert words_per_second(text) == 300
    assert words_per_second("nothing") is None
    assert words_per_second(LINE % 1) is None  # the first updates are slower
    (tmp_path / "train-lrn_512-fp16.txt").write_text(text)
    outcomes = [
        Outcome(python("train", f"train-lrn_512-{name}", ""), state, 1.0)
        for name, state in (("fp16", "done"), ("amp", "failed (1)"))
    ]
    assert "| lrn_512 | - | 300 | - | failed (1) |" in format_report(outcomes, tmp_path, "a GPU")


def test_the_steps(tmp_path):
    chosen = steps(tmp_path)
    names = [step.name for step in chosen]
    assert len(set(names)) == len(names)
    groups = list(dict.fromkeys(step.group for step in chosen))
    assert groups == ["data", "tests", "scan", "layer", "train", "generate", "profile"]
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
    command, data, *arguments = gpu_report.training_command(model, precision, tmp_path, tmp_path)
    assert command == "fairseq-train"
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, [data, *arguments])
    assert args.max_update == 30 and args.arch
    assert args.no_save == (precision != "float32" or model not in gpu_report.GENERATING)


def test_without_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu_report.py", str(tmp_path / "out")])
    monkeypatch.setattr(gpu_report.torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no GPU"):
        gpu_report.main()
    assert not (tmp_path / "out").exists()
