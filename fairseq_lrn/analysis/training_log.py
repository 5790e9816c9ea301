"""Losses, BLEU and training time from the logs of ``fairseq-train`` and ``fairseq-generate``."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Sequence

from fairseq_lrn.errors import InputError

DONE = re.compile(r"done training in ([\d.]+) seconds")
VALID = re.compile(r"epoch (\d+) \| valid on '\w+' subset \| (.+)")


def validations(path: str) -> List[Dict[str, float]]:
    """The statistics of each validation, in the order of the updates.

    If a resumed training run repeats a validation, the later result counts.

    Args:
        path: output of ``fairseq-train --log-format simple``.

    Raises:
        InputError: the file cannot be read or has no validation.
    """
    by_update: Dict[float, Dict[str, float]] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                match = VALID.search(line)
                if match:
                    pairs = (item.split() for item in match.group(2).split(" | "))
                    row = {"epoch": float(match.group(1))}
                    row.update((pair[0], float(pair[1])) for pair in pairs if len(pair) == 2)
                    by_update[row["num_updates"]] = row
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not by_update:
        raise InputError(f"{path} has no validation: train with --log-format simple")
    return [by_update[update] for update in sorted(by_update)]


def table(rows: List[Dict[str, float]]) -> str:
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
        with open(log, encoding="utf-8") as file:
            text = file.read()
        if not VALID.search(text):
            continue  # still in its first epoch
        history = validations(log)
        best = min(history, key=lambda row: row["loss"])
        seconds = DONE.findall(text)
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
    try:
        with open(path, encoding="utf-8") as file:
            scores = re.findall(r"^Generate .*BLEU4 = ([\d.]+)", file.read(), re.MULTILINE)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not scores:
        raise InputError(f"{path} has no BLEU: fairseq-generate did not finish, run it again")
    return float(scores[-1])


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
