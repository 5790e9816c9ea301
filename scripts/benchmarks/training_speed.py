"""Words per second of real ``fairseq-train`` runs: what ``scripts/benchmark.py train`` measures.

Every candidate is trained for a few updates in a process of its own, in turns, on the same
batches. fairseq itself counts the target words and the seconds between two lines of its log;
the first ones, validation and checkpoints are left out.
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
from benchmarks.rows import select_rows
from fairseq_lrn.errors import command_failed
from fairseq_lrn.ops.cpu import has_bfloat16

# Updates between two lines of the log.
INTERVAL = 5


class Candidate(NamedTuple):
    """A model, and what it is trained with.

    Attributes:
        name: in the table.
        options: of ``fairseq-train``.
        environment: variables that are set for it.
    """

    name: str
    options: Sequence[str]
    environment: Mapping[str, str] = MappingProxyType({})


class Speed(NamedTuple):
    """What was measured of a candidate.

    Attributes:
        name: of the candidate.
        words: target words per second, one figure for each interval.
    """

    name: str
    words: Sequence[float]

    @property
    def median(self) -> float:
        """Target words per second."""
        return statistics.median(self.words)


FAIRSEQ = ["--optimizer", "adam", "--criterion", "label_smoothed_cross_entropy"]
FUSED = ["--optimizer", "torch_adam", "--criterion", "fused_label_smoothed_cross_entropy"]
# As scripts/env.sh has it, for trainings.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
BFLOAT16 = [*FUSED, "--autocast", "bfloat16"]


def candidates(setting: str, names: Optional[Sequence[str]] = None) -> List[Candidate]:
    """The models of a setting, ours first: ``"512"`` (equal sizes) or ``"multi30k"`` (our recipe).

    Peers are measured as fairseq ships them, and the transformer also with our loss and torch's
    Adam, so that it can be seen what is the model's doing; both also with large tensors on huge
    pages, where glibc can be asked for them.

    Args:
        setting: one of :data:`SETTINGS`.
        names: only these.

    Raises:
        InputError: there is no candidate of one of the names.
    """
    if setting == "512":
        ours = {name: ARCHITECTURES[f"{name}_512"] for name in ("lrn", "transformer_lrn")}
        peers = {name: ARCHITECTURES[f"{name}_512"] for name in ("lstm", "transformer")}
    else:
        ours = {name: ARCHITECTURES[name] for name in ("lrn_multi30k", "transformer_lrn_multi30k")}
        peers = {"transformer, tiny": ARCHITECTURES["transformer_tiny"]}
    chosen = []
    for name, model in ours.items():
        if has_bfloat16():
            chosen.append(Candidate(f"{name}, bfloat16", [*model, *BFLOAT16]))
        chosen.append(Candidate(name, [*model, *FUSED]))
    name, model = next(iter(ours.items()))
    if has_huge_pages():
        chosen.append(Candidate(f"{name}, huge pages", [*model, *FUSED], HUGE_PAGES))
    chosen.append(Candidate(f"{name}, fairseq's loss and Adam", [*model, *FAIRSEQ]))
    chosen += [Candidate(peer, [*options, *FAIRSEQ]) for peer, options in peers.items()]
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
        data: directory that ``scripts/prepare_text.py`` or ``fairseq-preprocess`` made.
        user_dir: fairseq_lrn's directory.
        chosen: the candidates.
        rounds: turns of each.
        updates: that are counted, in each turn; a multiple of 5.
        max_tokens: size of a batch, in tokens.
        subset: trained on. One with few batches meets them again after few updates, as a training
            does in all epochs but the first; what is made anew for each shape of a batch is then
            there.
        skipped: updates before those that are counted; a multiple of 5, at least 5.

    Raises:
        InputError: a run failed, with the end of what it printed.
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
    """A Markdown table; the last column says how many times as fast as each the first one is."""
    rows = ["| model | target words per second | lowest to highest | first / this |"]
    rows.append("| --- | ---: | ---: | ---: |")
    for speed in speeds:
        rows.append(
            f"| {speed.name} | {speed.median:.0f} | {min(speed.words):.0f} to "
            f"{max(speed.words):.0f} | {speeds[0].median / speed.median:.2f} |"
        )
    return "\n".join(rows)
