"""Words per second of real ``fairseq-train`` runs: ``scripts/benchmark.py train``.

The candidates take turns. Each is trained for a few updates on the same batches, in a process of
its own. fairseq counts the target words and the seconds between two lines of its log. The first
updates, validation and saving checkpoints are not counted.
"""

import json
import os
import statistics
import subprocess
import sys
from types import MappingProxyType
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from benchmarks.machine import has_huge_pages
from benchmarks.model_options import ARCHITECTURES
from benchmarks.rows import markdown_table, select_rows
from fairseq_lrn.errors import command_failed
from fairseq_lrn.ops.cpu import has_bfloat16

# Updates between two lines of the log.
INTERVAL = 5


class Candidate(NamedTuple):
    """A model and its training options.

    Attributes:
        name: name in the table.
        options: options of ``fairseq-train``.
        environment: additional environment variables.
    """

    name: str
    options: Sequence[str]
    environment: Mapping[str, str] = MappingProxyType({})


class Speed(NamedTuple):
    """The training speed of a candidate.

    Attributes:
        name: name of the candidate.
        words: target words per second in each interval.
    """

    name: str
    words: Sequence[float]

    @property
    def median(self) -> float:
        """Median of the target words per second."""
        return statistics.median(self.words)


FAIRSEQ = ["--optimizer", "adam", "--criterion", "label_smoothed_cross_entropy"]
FUSED = ["--optimizer", "torch_adam", "--criterion", "fused_label_smoothed_cross_entropy"]
# The setting of scripts/env.sh for training runs.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
BFLOAT16 = [*FUSED, "--autocast", "bfloat16"]


def candidates(setting: str, names: Optional[Sequence[str]] = None) -> List[Candidate]:
    """The candidates of a setting: models of this package first, then their peers.

    The peers use fairseq's own loss and Adam. The transformer is also measured with our loss and
    torch's Adam, which isolates the effect of the model, and all peers with these in bfloat16, if
    the processor has it. One model of ours and this transformer are
    also measured with large tensors on huge pages, if glibc can request them.

    Args:
        setting: ``"512"`` (equal sizes) or ``"multi30k"`` (the sizes of the Multi30k recipe).
        names: names of candidates to keep; None keeps all.

    Raises:
        InputError: there is no candidate of one of the names.
    """
    if setting == "512":
        own = {name: ARCHITECTURES[f"{name}_512"] for name in ("lrn", "transformer_lrn")}
        peers = {name: ARCHITECTURES[f"{name}_512"] for name in ("lstm", "transformer")}
    else:
        own = {name: ARCHITECTURES[name] for name in ("lrn_multi30k", "transformer_lrn_multi30k")}
        peers = {"transformer, tiny": ARCHITECTURES["transformer_tiny"]}
    chosen = []
    for name, model in own.items():
        if has_bfloat16():
            chosen.append(Candidate(f"{name}, bfloat16", [*model, *BFLOAT16]))
        chosen.append(Candidate(name, [*model, *FUSED]))
    name, model = next(iter(own.items()))
    if has_huge_pages():
        chosen.append(Candidate(f"{name}, huge pages", [*model, *FUSED], HUGE_PAGES))
    chosen.append(Candidate(f"{name}, fairseq's loss and Adam", [*model, *FAIRSEQ]))
    chosen += [Candidate(peer, [*options, *FAIRSEQ]) for peer, options in peers.items()]
    if has_bfloat16():
        for peer, options in peers.items():
            name = f"{peer}, our loss and torch's Adam, bfloat16"
            chosen.append(Candidate(name, [*options, *BFLOAT16]))
    peer, options = list(peers.items())[-1]
    peer = f"{peer}, our loss and torch's Adam"
    chosen.append(Candidate(peer, [*options, *FUSED]))
    if has_huge_pages():
        chosen.append(Candidate(f"{peer}, huge pages", [*options, *FUSED], HUGE_PAGES))
    return select_rows(chosen, names)


SETTINGS = ("512", "multi30k")


def measure(
    data: str,
    user_dir: str,
    chosen: Sequence[Candidate],
    rounds: int = 3,
    updates: int = 20,
    max_tokens: int = 4096,
    subset: str = "train",
    skipped: int = INTERVAL,
) -> List[Speed]:
    """Train every candidate for a few updates, in turns.

    Args:
        data: directory of prepared data (``fairseq-lrn prepare`` or ``fairseq-preprocess``).
        user_dir: directory of fairseq_lrn.
        chosen: the candidates.
        rounds: turns of each candidate.
        updates: counted updates in each turn; a multiple of 5.
        max_tokens: batch size, in tokens.
        subset: the subset to train on. If it has few batches, the counted updates repeat batches,
            like every epoch of a training run except the first. Kernels that were compiled for the
            shape of a batch are then reused.
        skipped: updates before the counted ones; a multiple of 5, at least 5.

    Raises:
        InputError: a run failed; the message has the end of its output.
    """
    words: Dict[str, List[float]] = {candidate.name: [] for candidate in chosen}
    for _ in range(rounds):
        for candidate in chosen:
            words[candidate.name] += _train(
                data, user_dir, candidate, updates, max_tokens, subset, skipped
            )
    return [Speed(name, figures) for name, figures in words.items()]


def _train(
    data: str,
    user_dir: str,
    candidate: Candidate,
    updates: int,
    max_tokens: int,
    subset: str,
    skipped: int,
) -> List[float]:
    command = [sys.executable, "-m", "fairseq_cli.train", data, "--user-dir", user_dir]
    command += [*candidate.options, "--dropout", "0.3", "--label-smoothing", "0.1"]
    command += ["--lr", "1e-4", "--max-tokens", str(max_tokens), "--seed", "1"]
    command += ["--train-subset", subset]
    command += ["--max-update", str(updates + skipped), "--log-interval", str(INTERVAL)]
    command += ["--log-format", "json", "--disable-validation", "--no-save"]
    environment = {**os.environ, **candidate.environment}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    figures = [
        float(json.loads(line[line.index("{") :])["wps"])
        for line in run.stdout.splitlines()
        if "| train_inner |" in line
    ]
    if run.returncode != 0 or len(figures) <= skipped // INTERVAL:
        raise command_failed(f"training {candidate.name} on {data}", run.stdout + run.stderr)
    return figures[skipped // INTERVAL :]


def format_table(speeds: Sequence[Speed]) -> str:
    """A Markdown table, with the speed of the first row as a multiple of each row's speed."""
    columns = ("model", "target words per second", "lowest to highest", "first row / this row")
    rows = []
    for speed in speeds:
        spread = f"{min(speed.words):.0f} to {max(speed.words):.0f}"
        ratio = f"{speeds[0].median / speed.median:.2f}"
        rows.append((speed.name, f"{speed.median:.0f}", spread, ratio))
    return markdown_table(columns, rows)
