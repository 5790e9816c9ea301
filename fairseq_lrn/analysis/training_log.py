"""Reading what ``fairseq-train`` logs, and what came of it."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Sequence

from fairseq_lrn.errors import InputError

DONE = re.compile(r"done training in ([\d.]+) seconds")
VALID = re.compile(r"epoch (\d+) \| valid on '\w+' subset \| (.+)")


def validations(path: str) -> List[Dict[str, float]]:
    """Statistics of each validation, by epoch; a resumed epoch counts once, as it came out last.

    Args:
        path: what ``fairseq-train --log-format simple`` printed.

    Raises:
        InputError: the file cannot be read or has no validation.
    """
    by_update = {}
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
    """What became of a run.

    Attributes:
        name: of its directory.
        updates: that were trained.
        loss: lowest on the validation set, in bits for each token, with label smoothing.
        nll_loss: that without label smoothing, at the same point.
        valid_bleu: tokenised, on the validation set; None where it was not generated.
        test_bleu: tokenised, on the test set; None where it was not generated.
        seconds: of training, validation and checkpoints included, of all parts that came to
            their end (one that was killed logs none); None while the first is under way.
    """

    name: str
    updates: int
    loss: float
    nll_loss: float
    valid_bleu: Optional[float]
    test_bleu: Optional[float]
    seconds: Optional[float]


def results(directories: Sequence[str]) -> List[Result]:
    """What became of the runs in *directories*; those without a validation are passed over.

    Raises:
        InputError: there is none, or a log or a translation is not as it should be.
    """
    found = []
    for directory in directories:
        log = os.path.join(directory, "train.log")
        if not os.path.isfile(log):
            continue
        with open(log, encoding="utf-8") as file:
            text = file.read()
        if not VALID.search(text):
            continue  # it is in its first epoch
        rows = validations(log)
        best = min(rows, key=lambda row: row["loss"])
        seconds = DONE.findall(text)
        found.append(
            Result(
                os.path.basename(os.path.normpath(directory)),
                int(rows[-1]["num_updates"]),
                best["loss"],
                best["nll_loss"],
                _bleu_if_there(directory, "valid"),
                _bleu_if_there(directory, "test"),
                sum(map(float, seconds)) if seconds else None,
            )
        )
    if not found:
        raise InputError(
            "no directory has a train.log with a validation: give those that multi30k.sh filled"
        )
    return found


def _bleu_if_there(directory: str, subset: str) -> Optional[float]:
    path = os.path.join(directory, f"generate-{subset}.txt")
    return read_bleu(path) if os.path.isfile(path) else None


def read_bleu(path: str) -> float:
    """Tokenised BLEU as ``fairseq-generate`` printed it.

    Raises:
        InputError: the file is missing or has none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = re.findall(r"^Generate .*BLEU4 = ([\d.]+)", file.read(), re.MULTILINE)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not found:
        raise InputError(f"{path} has no BLEU: generate again, with the script that made it")
    return float(found[-1])


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
