"""Run the measurements of scripts/gpu_report.sh one after the other, each within its time limit."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch

from benchmarks.machine import describe_machine, format_machine
from benchmarks.model_options import ARCHITECTURES
from fairseq_lrn.commands.entry import run
from fairseq_lrn.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
# fairseq's --bf16 needs a TPU.
BFLOAT16 = ["--criterion", "fused_label_smoothed_cross_entropy", "--autocast", "bfloat16"]
PRECISIONS = {"float32": [], "fp16": ["--fp16"], "bf16": BFLOAT16, "amp": ["--amp"]}
COLUMNS = {"bf16": "bf16, our loss"}
_PEER_1024 = {
    "transformer_1024": [
        *("--arch", "transformer_vaswani_wmt_en_de_big", "--share-all-embeddings"),
    ],
    "lstm_1024": [
        *("--arch", "lstm", "--share-all-embeddings", "--decoder-out-embed-dim", "1024"),
        *("--encoder-embed-dim", "1024", "--encoder-hidden-size", "1024", "--encoder-layers", "6"),
        *("--decoder-embed-dim", "1024", "--decoder-hidden-size", "1024", "--decoder-layers", "6"),
    ],
}
# Ours, then fairseq's at the same size.
MODELS: Dict[str, List[str]] = {
    "lrn_multi30k": ["--arch", "lrn_multi30k"],
    "transformer_tiny": ARCHITECTURES["transformer_tiny"],
    "lrn_wmt_en_de": ["--arch", "lrn_wmt_en_de"],
    "lrn_rnmt_wmt_en_de": ["--arch", "lrn_rnmt_wmt_en_de"],
    **_PEER_1024,
    "lrn_512": ARCHITECTURES["lrn_512"],
    "lstm_512": ARCHITECTURES["lstm_512"],
    "transformer_512": ARCHITECTURES["transformer_512"],
}
GENERATING = ("lrn_512", "lstm_512", "transformer_512")
PROFILED = ("transformer_512", "transformer_lrn_512")


class Step(NamedTuple):
    """One measurement.

    Attributes:
        group: name by which ``--steps`` selects it.
        name: name of its file.
        seconds: time limit.
        command: what to run; its output is kept.
    """

    group: str
    name: str
    seconds: float
    command: Sequence[str]


class Outcome(NamedTuple):
    """What became of a step: ``done``, ``failed (N)``, ``stopped`` or ``skipped``."""

    step: Step
    state: str
    seconds: float


def steps(out: Path) -> List[Step]:
    """All steps, in order of worth. Those after ``data`` need its result."""
    data, benchmark = out / "data-bin", [PYTHON, str(ROOT / "scripts" / "benchmark.py")]
    raw, prepared, python = map(shlex.quote, (str(out / "raw"), str(data), PYTHON))
    toy = f"[ -d {prepared} ] || {{ {python} scripts/make_toy_corpus.py --destdir {raw}"
    toy += f" && fairseq-lrn prepare -s en -t de --trainpref {raw}/train"
    toy += f" --validpref {raw}/valid --testpref {raw}/test"
    toy += f" --vocab-size 800 --destdir {prepared}; }}"
    tests = ["tests/ops", "tests/modules", "tests/end_to_end/test_fairseq_options.py"]
    chosen = [
        Step("data", "data", 120, ["bash", "-c", toy]),
        Step(
            "tests",
            "tests",
            240,
            [PYTHON, "-m", "pytest", "-q", "-rf", "-k", "gpu or cuda or triton", *tests],
        ),
    ]
    for measure in ("scan", "layer"):
        for dtype in ("float32", "bfloat16"):
            command = [*benchmark, measure, "--device", "cuda", "--dtype", dtype]
            chosen.append(Step(measure, f"{measure}-{dtype}", 60, command))
    for precision in PRECISIONS:
        for model in MODELS:
            command = training_command(model, precision, data, out)
            chosen.append(Step("train", f"train-{model}-{precision}", 40, command))
    for model in GENERATING:
        path = str(out / "checkpoints" / f"{model}-float32" / "checkpoint_last.pt")
        for size in (1, 16, 128):
            command = ["fairseq-generate", str(data), "--user-dir", str(ROOT / "fairseq_lrn")]
            command += ["--task", "translation_lrn", "--path", path, "--batch-size", str(size)]
            command += ["--beam", "5", "--max-len-b", "30", "--gen-subset", "valid"]
            chosen.append(Step("generate", f"generate-{model}-{size}", 40, command))
    for model in PROFILED:
        for precision in ("float32", "bf16"):
            command = training_command(model, precision, data, out)
            script = [PYTHON, str(ROOT / "scripts" / "gpu_report.py"), "--profile", *command[1:]]
            chosen.append(Step("profile", f"profile-{model}-{precision}", 40, script))
    return chosen


def training_command(model: str, precision: str, data: Path, out: Path) -> List[str]:
    """A training run of 30 updates that logs JSON, and never resumes an earlier one.

    Only models that translate later are saved.
    """
    options = {**ARCHITECTURES, **MODELS}[model]
    if model in GENERATING and precision == "float32":
        saving = ["--save-dir", str(out / "checkpoints" / f"{model}-{precision}")]
    else:
        saving = ["--no-save"]
    return [
        *("fairseq-train", str(data), "--user-dir", str(ROOT / "fairseq_lrn"), *options),
        *("--optimizer", "adam", "--lr", "1e-4", "--criterion", "label_smoothed_cross_entropy"),
        *("--label-smoothing", "0.1", "--max-tokens", "8192", "--max-update", "30", "--seed", "1"),
        *("--log-format", "json", "--log-interval", "5", "--disable-validation"),
        *("--no-epoch-checkpoints", "--restore-file", "none"),
        *saving,
        *PRECISIONS[precision],
    ]


def run_step(step: Step, out: Path, seconds: float) -> Outcome:
    """Run a step, and stop it with everything it started when its time is over.

    Args:
        step: the step.
        out: directory of its output, ``NAME.txt``.
        seconds: time limit.
    """
    started = time.monotonic()
    with open(out / f"{step.name}.txt", "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            step.command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
        )
        try:
            status = process.wait(seconds)
            state = "done" if status == 0 else f"failed ({status})"
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            state = "stopped"
    return Outcome(step, state, time.monotonic() - started)


def run_all(
    chosen: Sequence[Step], out: Path, seconds: float, report: Callable[[List[Outcome]], None]
) -> List[Outcome]:
    """Run steps until the time is over; *report* is called after each.

    Args:
        chosen: the steps.
        out: directory of their output.
        seconds: time for all of them.
        report: writes the outcomes so far.
    """
    outcomes: List[Outcome] = []
    end = time.monotonic() + seconds
    for step in chosen:
        left = end - time.monotonic()
        if left < 1:
            (out / f"{step.name}.txt").unlink(missing_ok=True)  # of an earlier report
            outcomes.append(Outcome(step, "skipped", 0.0))
        else:
            outcomes.append(run_step(step, out, min(step.seconds, left)))
        report(outcomes)
    return outcomes


def words_per_second(text: str) -> Optional[float]:
    """The median of the last lines of fairseq's JSON log; None if there is only the first."""
    speeds = []
    for line in text.splitlines():
        start = line.find('{"epoch"')
        if start >= 0:
            try:
                speeds.append(float(json.loads(line[start:])["wps"]))
            except (ValueError, KeyError):
                continue
    last = sorted(speeds[1:][-4:])
    return last[len(last) // 2] if last else None


def format_report(outcomes: Sequence[Outcome], out: Path, machine: str) -> str:
    """The report in Markdown: what ran, training speeds, and the tables that the steps printed."""
    rows = [f"Hardware: {machine}", "", "| step | outcome | seconds |", "| --- | --- | ---: |"]
    rows += [f"| {step.name} | {state} | {spent:.0f} |" for step, state, spent in outcomes]
    rows += ["", "Training, target words per second:", ""]
    columns = [COLUMNS.get(precision, precision) for precision in PRECISIONS]
    rows += [f"| model | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    states = {outcome.step.name: outcome.state for outcome in outcomes}
    for model in MODELS:
        cells = []
        for precision in PRECISIONS:
            name = f"train-{model}-{precision}"
            speed = words_per_second(_output(out, name)) if name in states else None
            cells.append(f"{speed:.0f}" if speed else states.get(name, "-"))
        rows.append(f"| {model} | {' | '.join(cells)} |")
    for step, _, _ in outcomes:
        text = _output(out, step.name)
        kept = [line for line in text.splitlines() if line.startswith(("| ", "FAILED"))]
        if step.group == "generate":
            kept = [line for line in text.splitlines() if "sentences/s" in line]
        if step.group == "train":
            kept = []
        if kept:
            rows += ["", f"{step.name}:", "", *kept]
    return "\n".join(rows) + "\n"


def _output(out: Path, name: str) -> str:
    path = out / f"{name}.txt"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def profile_training(arguments: List[str]) -> None:
    """Run ``fairseq-train`` with *arguments* in torch's profiler, and print the slowest operators.

    It shows where a training run in half precision spends its time.
    """
    from fairseq_cli.train import cli_main

    sys.argv = ["fairseq-train", *arguments]
    with torch.profiler.profile() as profiler:
        cli_main()
    for order in ("self_cpu_time_total", "self_cuda_time_total"):
        table = profiler.key_averages().table(sort_by=order, row_limit=15)
        print("\n".join(f"| {line}" for line in table.splitlines()))


def main() -> None:
    if sys.argv[1:2] == ["--profile"]:
        profile_training(sys.argv[2:])
        return
    groups = list(dict.fromkeys(step.group for step in steps(Path())))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", metavar="OUT", help="directory to write")
    parser.add_argument("--steps", nargs="+", choices=groups, default=groups, metavar="STEP")
    parser.add_argument("--minutes", type=float, default=20.0, help="for all steps (default: 20)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise InputError("torch finds no GPU: run this on a machine with one, and a GPU build")
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    machine = format_machine(describe_machine("cuda"))

    def report(outcomes: List[Outcome]) -> None:
        step, state, spent = outcomes[-1]
        print(f"{step.name}: {state}, {spent:.0f} seconds", flush=True)
        (out / "report.md").write_text(format_report(outcomes, out, machine), encoding="utf-8")

    chosen = [step for step in steps(out) if step.group in args.steps]
    outcomes = run_all(chosen, out, 60 * args.minutes, report)
    print(out / "report.md")
    failed = [step.name for step, state, _ in outcomes if state.startswith("failed")]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    run(main)
