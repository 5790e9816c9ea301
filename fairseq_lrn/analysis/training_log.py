"""Losses, BLEU and training time from the logs of ``fairseq-train`` and ``fairseq-generate``."""

import contextlib
import os
import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from fairseq_lrn.errors import InputError

DONE = re.compile(r"done training in ([\d.]+) seconds")
GENERATE = re.compile(r"Generate .*BLEU4 = ([\d.]+)")
VALID = re.compile(r"epoch (\d+) \| valid on '\w+' subset \| (.+)")
# A mean over the updates since the last such line, or over the epoch.
TRAIN_INTERVAL = re.compile(r"train_inner \| epoch (\d+):\s+\d+ / \d+ (.+)")
TRAIN_EPOCH = re.compile(r"\| train \| epoch (\d+) \| (.+)")
STATISTIC = re.compile(r"(\w+)[ =]([-+.\w]+)(?:, | \| |$)")

Statistics = Dict[str, float]


def read_log(path: str) -> List[str]:
    """The lines of a log, which may contain anything that a program printed.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def statistics(lines: Iterable[str], pattern: "re.Pattern[str]") -> List[Statistics]:
    """The statistics in the lines of one kind, in the order of the updates.

    If a resumed training run repeats updates, the later result counts.

    Args:
        lines: lines of a log.
        pattern: :data:`VALID`, :data:`TRAIN_INTERVAL` or :data:`TRAIN_EPOCH`.
    """
    by_update: Dict[float, Statistics] = {}
    for match in filter(None, map(pattern.search, lines)):
        row = {"epoch": float(match.group(1))}
        for name, value in STATISTIC.findall(match.group(2)):
            with contextlib.suppress(ValueError):
                row[name] = float(value)
        if "num_updates" in row:  # otherwise the line is incomplete
            by_update[row["num_updates"]] = row
    return [by_update[update] for update in sorted(by_update)]


def validations(path: str) -> List[Statistics]:
    """The statistics of each validation, see :func:`statistics`.

    Args:
        path: output of ``fairseq-train --log-format simple``.

    Raises:
        InputError: the file cannot be read or has no validation.
    """
    rows = statistics(read_log(path), VALID)
    if not rows:
        raise InputError(f"{path} has no validation: train with --log-format simple")
    return rows


def training_and_validation(path: str) -> Tuple[List[Statistics], List[Statistics]]:
    """The statistics of training, every ``--log-interval`` updates, and of each validation.

    One of them may be empty. If no interval was logged, training has one row for each epoch.

    Args:
        path: output of ``fairseq-train --log-format simple``.

    Raises:
        InputError: the file cannot be read, or has neither.
    """
    lines = read_log(path)
    training = statistics(lines, TRAIN_INTERVAL) or statistics(lines, TRAIN_EPOCH)
    validation = statistics(lines, VALID)
    if not training and not validation:
        raise InputError(
            f"{path} has neither training nor validation: give the output of fairseq-train "
            "--log-format simple"
        )
    return training, validation


def table(rows: List[Statistics]) -> str:
    """A Markdown table of validations."""
    lines = [
        "| epoch | updates | loss | nll_loss | ppl |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['epoch']:.0f} | {row['num_updates']:.0f} | {row['loss']:.3f} "
            f"| {row['nll_loss']:.3f} | {row['ppl']:.2f} |"
        )
    return "\n".join(lines)


class Result(NamedTuple):
    """The result of a training run.

    Attributes:
        name: name of its directory.
        updates: number of updates.
        loss: lowest loss on the validation set, in bits per token, with label smoothing.
        nll_loss: loss without label smoothing, at the same update.
        valid_bleu: tokenised BLEU on the validation set; None if it was not generated.
        test_bleu: tokenised BLEU on the test set; None if it was not generated.
        seconds: training time, validation and checkpoints included. It is the sum over all
            processes that finished (a process that was killed logs no time); None if none did.
    """

    name: str
    updates: int
    loss: float
    nll_loss: float
    valid_bleu: Optional[float]
    test_bleu: Optional[float]
    seconds: Optional[float]


def results(directories: Sequence[str]) -> List[Result]:
    """The results of the training runs in *directories*.

    A directory without ``train.log``, or with a log that has no validation yet, is skipped.

    Raises:
        InputError: no training run is left, or a log or an output of ``fairseq-generate`` cannot
            be read.
    """
    rows = []
    for directory in directories:
        log = os.path.join(directory, "train.log")
        if not os.path.isfile(log):
            continue
        lines = read_log(log)
        history = statistics(lines, VALID)
        if not history:
            continue  # still in its first epoch
        best = min(history, key=lambda row: row["loss"])
        seconds = DONE.findall("\n".join(lines))
        rows.append(
            Result(
                os.path.basename(os.path.normpath(directory)),
                int(history[-1]["num_updates"]),
                best["loss"],
                best["nll_loss"],
                _optional_bleu(directory, "valid"),
                _optional_bleu(directory, "test"),
                sum(map(float, seconds)) if seconds else None,
            )
        )
    if not rows:
        raise InputError(
            "no directory has a train.log with a validation: give directories of training runs, "
            "as scripts/multi30k.sh makes them"
        )
    return rows


def _optional_bleu(directory: str, subset: str) -> Optional[float]:
    path = os.path.join(directory, f"generate-{subset}.txt")
    return read_bleu(path) if os.path.isfile(path) else None


def read_bleu(path: str) -> float:
    """Tokenised BLEU from the output of ``fairseq-generate``.

    Raises:
        InputError: the file is missing or has no BLEU.
    """
    scores = list(filter(None, map(GENERATE.match, read_log(path))))
    if not scores:
        raise InputError(f"{path} has no BLEU: fairseq-generate did not finish, run it again")
    return float(scores[-1].group(1))


def results_table(rows: Sequence[Result]) -> str:
    """A Markdown table of results."""
    lines = [
        "| run | updates | valid loss | valid nll_loss | valid BLEU | test BLEU | training, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        bleu = ("" if score is None else f"{score:.2f}" for score in (row[4], row[5]))
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        lines.append(
            f"| {row.name} | {row.updates} | {row.loss:.3f} | {row.nll_loss:.3f} "
            f"| {' | '.join(bleu)} | {seconds} |"
        )
    return "\n".join(lines)
