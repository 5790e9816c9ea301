"""The statistics of training and validation in the logs of fairseq-train."""

import contextlib
import re
from typing import Dict, Iterable, List, Tuple

from fairseq_lrn.errors import InputError, cannot_read

VALID = re.compile(r"epoch (\d+) \| valid on '(?P<subset>[^']+)' subset \| (?P<values>.+)")
# A mean over the updates since the last such line, or over the epoch.
TRAIN_INTERVAL = re.compile(r"train_inner \| epoch (\d+):\s+\d+ / \d+ (?P<values>.+)")
TRAIN_EPOCH = re.compile(r"\| train \| epoch (\d+) \| (?P<values>.+)")
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
        raise cannot_read(path, error) from error


def statistics(lines: Iterable[str], pattern: "re.Pattern[str]") -> List[Statistics]:
    """The statistics in the lines of one kind, in the order of the updates.

    If a resumed training run repeats updates, the later result counts. Of several validation
    subsets, the first one counts, which chooses the best checkpoint.

    Args:
        lines: lines of a log.
        pattern: :data:`VALID`, :data:`TRAIN_INTERVAL` or :data:`TRAIN_EPOCH`.
    """
    by_update: Dict[float, Statistics] = {}
    first_subset = None
    for match in filter(None, map(pattern.search, lines)):
        subset = match.groupdict().get("subset")
        first_subset = first_subset or subset
        if subset != first_subset:
            continue
        row = {"epoch": float(match.group(1))}
        for name, value in STATISTIC.findall(match["values"]):
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
