"""Run the measurements of scripts/gpu_report.sh one after the other, each within its time limit."""

import argparse
import json
import os
import re
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
PRECISIONS = {"float32": [], "bf16": BFLOAT16, "fp16": ["--fp16"], "amp": ["--amp"]}
COLUMNS = {"bf16": "bf16, our loss"}
# Peers run in cuDNN, which uses TF32 for float32. Without this, our products would not.
ENVIRONMENT = {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "PYTHONUNBUFFERED": "1"}
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
# Those that are needed most first; ours, then fairseq's at the same size.
MODELS: Dict[str, List[str]] = {
    "lrn_512": ARCHITECTURES["lrn_512"],
    "lstm_512": ARCHITECTURES["lstm_512"],
    "transformer_512": ARCHITECTURES["transformer_512"],
    "lrn_multi30k": ["--arch", "lrn_multi30k"],
    "transformer_tiny": ARCHITECTURES["transformer_tiny"],
    "lrn_wmt_en_de": ["--arch", "lrn_wmt_en_de"],
    **_PEER_1024,
    "lrn_rnmt_wmt_en_de": ["--arch", "lrn_rnmt_wmt_en_de"],
}
GENERATING = ("lrn_512", "lstm_512", "transformer_512")
PROFILED = ("transformer_lrn_512", "transformer_512")
UPDATES, PROFILED_UPDATES = 30, 12
TESTS = ["tests/ops", "tests/modules", "tests/end_to_end/test_fairseq_options.py"]
PYTEST = ["-m", "pytest", "-v", "--tb=short", "--continue-on-collection-errors"]
INTERRUPT_SECONDS = 10  # for a step that is stopped to print what it has


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


def steps(out: Path, data: Optional[Path] = None) -> List[Step]:
    """All steps, in order of worth. Those after ``data`` need its result.

    Args:
        out: directory to write.
        data: prepared data; None: the step ``data`` makes some.
    """
    benchmark = [PYTHON, str(ROOT / "scripts" / "benchmark.py")]
    chosen = [] if data else [Step("data", "data", 120, _toy_data(out))]
    data = data or out / "data-bin"
    smoke = [PYTHON, "-m", "benchmarks.gpu_smoke"]
    chosen.append(Step("smoke", "smoke", 90, smoke))
    # Each example of a property is another kernel to compile, so there are few of them.
    wanted = "(gpu or cuda or triton) and not interpreter and not compiles_for_a_gpu"
    pytest = [PYTHON, *PYTEST, "-n", "8", "--dist", "worksteal"]
    tests = ["env", "FAIRSEQ_LRN_FEW_EXAMPLES=1", *pytest, "-k", wanted, *TESTS]
    chosen.append(Step("tests", "tests", 270, tests))
    for measure in ("scan", "layer"):
        for dtype in ("float32", "bfloat16"):
            command = [*benchmark, measure, "--device", "cuda", "--dtype", dtype]
            chosen.append(Step(measure, f"{measure}-{dtype}", 150, command))
    for precisions in (("float32", "bf16"), ("fp16", "amp")):
        for model in MODELS:
            for precision in precisions:
                command = training_command(model, precision, data, out)
                chosen.append(Step("train", f"train-{model}-{precision}", 60, command))
    chosen.append(Step("half", "half", 150, [PYTHON, *PYTEST, "-k", "half_precision", TESTS[-1]]))
    paths = [
        f"{model}={out / 'checkpoints' / f'{model}-float32' / 'checkpoint_last.pt'}"
        for model in GENERATING
    ]
    decoding = [PYTHON, "-m", "benchmarks.gpu_decoding"]
    chosen.append(Step("generate", "generate", 240, [*decoding, str(data), *paths]))
    for model in PROFILED:
        for precision in ("bf16", "float32"):
            command = training_command(model, precision, data, out, PROFILED_UPDATES)
            script = [PYTHON, str(ROOT / "scripts" / "gpu_report.py"), "--profile", *command[3:]]
            chosen.append(Step("profile", f"profile-{model}-{precision}", 120, script))
    return chosen


def _toy_data(out: Path) -> List[str]:
    raw, prepared, python = map(shlex.quote, (str(out / "raw"), str(out / "data-bin"), PYTHON))
    return [
        *("bash", "-c"),
        f"[ -d {prepared} ] || {{ {python} scripts/make_toy_corpus.py --destdir {raw}"
        f" && {python} -m fairseq_lrn prepare -s en -t de --trainpref {raw}/train"
        f" --validpref {raw}/valid --testpref {raw}/test"
        f" --vocab-size 800 --destdir {prepared}; }}",
    ]


def training_command(
    model: str, precision: str, data: Path, out: Path, updates: int = UPDATES
) -> List[str]:
    """A short training run that logs JSON, and never resumes an earlier one.

    Only models that translate later are saved.
    """
    options = {**ARCHITECTURES, **MODELS}[model]
    if model in GENERATING and precision == "float32" and updates == UPDATES:
        saving = ["--save-dir", str(out / "checkpoints" / f"{model}-{precision}")]
    else:
        saving = ["--no-save"]
    return [
        *(PYTHON, "-m", "fairseq_cli.train"),
        *(str(data), "--user-dir", str(ROOT / "fairseq_lrn"), *options, "--dropout", "0.3"),
        *("--optimizer", "adam", "--lr", "1e-4", "--criterion", "label_smoothed_cross_entropy"),
        *("--label-smoothing", "0.1", "--max-tokens", "8192", "--max-update", str(updates)),
        *("--seed", "1", "--log-format", "json", "--log-interval", "5", "--disable-validation"),
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
    environment = {**os.environ, **(ENVIRONMENT if step.group not in ("tests", "half") else {})}
    with open(out / f"{step.name}.txt", "w", encoding="utf-8") as file:
        try:
            process = subprocess.Popen(
                step.command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
                # A shell starts background jobs without interrupts, which end steps here.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        except OSError as error:  # there is no such command
            file.write(f"{error}\n")
            return Outcome(step, "failed", time.monotonic() - started)
        try:
            status = process.wait(seconds)
            state = "done" if status == 0 else f"failed ({status})"
        except BaseException as error:
            _stop(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            state = "stopped"
    return Outcome(step, state, time.monotonic() - started)


def _stop(process: subprocess.Popen) -> None:
    """End a process and all that it started; pytest and our measures first print what they have."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(INTERRUPT_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # all have ended
            pass
        process.wait()


def run_all(
    chosen: Sequence[Step],
    out: Path,
    seconds: float,
    report: Callable[[List[Outcome]], None],
    known: Optional[Dict[str, Outcome]] = None,
) -> List[Outcome]:
    """Run steps until the time is over; *report* is called after each.

    Args:
        chosen: the steps.
        out: directory of their output.
        seconds: time for all of them.
        report: writes the outcomes so far.
        known: outcomes of an earlier run, by name; steps that are done are not repeated.
    """
    outcomes: List[Outcome] = []
    end = time.monotonic() + seconds
    for step in chosen:
        left = end - time.monotonic()
        earlier = (known or {}).get(step.name)
        if earlier is not None and (earlier.state == "done" or left < 1):
            outcomes.append(earlier)
        elif left < 1:
            (out / f"{step.name}.txt").unlink(missing_ok=True)  # of an earlier report
            outcomes.append(Outcome(step, "skipped", 0.0))
        else:
            outcomes.append(run_step(step, out, min(step.seconds, left)))
        report(outcomes)
    return outcomes


def read_outcomes(out: Path, chosen: Sequence[Step]) -> Dict[str, Outcome]:
    """The outcomes of an earlier run with the same *out*, by name; skipped steps have none."""
    path = out / "outcomes.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {
        step.name: Outcome(step, *records[step.name]) for step in chosen if step.name in records
    }


def write_outcomes(outcomes: Sequence[Outcome], out: Path) -> None:
    """Write what :func:`read_outcomes` reads."""
    ran = {step.name: [state, spent] for step, state, spent in outcomes if state != "skipped"}
    (out / "outcomes.json").write_text(json.dumps(ran, indent=1), encoding="utf-8")


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
            text = _output(out, name) if name in states else ""
            speed = words_per_second(text)
            # Without its kernels, a model is many times slower.
            slow = ", reference" if "kernels on cuda: reference" in text else ""
            cells.append(f"{speed:.0f}{slow}" if speed else states.get(name, "-"))
        rows.append(f"| {model} | {' | '.join(cells)} |")
    for step, _, _ in outcomes:
        if step.group == "train":
            continue
        lines = _output(out, step.name).splitlines()
        kept = [line for line in lines if line.startswith(("| ", "FAILED", "ERROR"))]
        if kept and step.group == "profile":  # tables of torch, in plain text
            rows += [
                "",
                f"{step.name}:",
                "",
                "```",
                *(line.removeprefix("| ") for line in kept),
                "```",
            ]
        elif kept:  # rows that appeared as they came stand in the final table again
            rows += ["", f"{step.name}:", "", *reversed(dict.fromkeys(reversed(kept)))]
    return "\n".join(rows) + "\n"


def _output(out: Path, name: str) -> str:
    path = out / f"{name}.txt"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def profile_training(arguments: List[str]) -> None:
    """Run ``fairseq-train`` with *arguments*, its last updates in torch's profiler.

    It prints the slowest operators, and shows where training in half precision spends its time. The
    first updates, which load and compile kernels, are left out.
    """
    from fairseq.trainer import Trainer
    from fairseq_cli.train import cli_main

    profiler = torch.profiler.profile()
    train_step = Trainer.train_step

    def profiled(trainer, *args, **kwargs):
        if trainer.get_num_updates() == PROFILED_UPDATES // 2:
            profiler.start()
        return train_step(trainer, *args, **kwargs)

    Trainer.train_step = profiled
    sys.argv = ["fairseq-train", *arguments]
    cli_main()
    profiler.stop()
    averages = profiler.key_averages()
    for order in ("self_cpu_time_total", "self_cuda_time_total"):
        table = averages.table(sort_by=order, row_limit=15)
        print("\n".join(f"| {line}" for line in table.splitlines()), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--profile"]:
        profile_training(sys.argv[2:])
        return
    groups = list(dict.fromkeys(step.group for step in steps(Path())))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", metavar="OUT", help="directory to write")
    parser.add_argument("--steps", nargs="+", choices=groups, default=groups, metavar="STEP")
    parser.add_argument("--only", default="", metavar="REGEX", help="steps with such a name")
    parser.add_argument("--minutes", type=float, default=20.0, help="for all steps (default: 20)")
    parser.add_argument("--data", metavar="DIR", help="prepared data, English-German")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise InputError("torch finds no GPU: run this on a machine with one, and a GPU build")
    data = Path(args.data).resolve() if args.data else None
    if data is not None and not (data / "dict.en.txt").is_file():
        raise InputError(f"--data {args.data} has no dict.en.txt: give data of fairseq-lrn prepare")
    out = Path(args.out).resolve()
    every = steps(out, data)
    chosen = [s for s in every if s.group in args.steps and re.search(args.only, s.name)]
    if not chosen:
        raise InputError(f"--only {args.only} matches none of the steps: see {out}/report.md")
    out.mkdir(parents=True, exist_ok=True)
    machine = f"{format_machine(describe_machine('cuda'))}, TF32 for float32 except in tests"
    known = read_outcomes(out, every)

    def report(outcomes: List[Outcome]) -> None:
        step, state, spent = outcomes[-1]
        print(f"{step.name}: {state}, {spent:.0f} seconds", flush=True)
        found = {**known, **{outcome.step.name: outcome for outcome in outcomes}}
        ordered = [found[step.name] for step in every if step.name in found]
        write_outcomes(ordered, out)
        (out / "report.md").write_text(format_report(ordered, out, machine), encoding="utf-8")

    outcomes = run_all(chosen, out, 60 * args.minutes, report, known)
    print(out / "report.md")
    failed = [step.name for step, state, _ in outcomes if state.startswith("failed")]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    run(main)
