"""Losses, scores and training time from the logs of fairseq's commands."""

import contextlib
import math
import os
import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from fairseq_lrn.errors import InputError, cannot_read

DONE = re.compile(r"done training in ([\d.]+) seconds")
GENERATE = re.compile(r"Generate .*BLEU4 = ([\d.]+)")
CHRF = re.compile(r"chrF2\S* = ([\d.]+)")
PERPLEXITY = re.compile(r"Perplexity: ([\d.]+|inf|nan)")
PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")
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


def table(rows: List[Statistics]) -> str:
    """A Markdown table of validations."""
    lines = [
        "| epoch | updates | loss | nll_loss | ppl |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['epoch']:.0f} | {row['num_updates']:.0f} | {row['loss']:.3f} "
            f"| {_nll_loss(row):.3f} | {_ppl(row)} |"
        )
    return "\n".join(lines)


def _ppl(row: Statistics) -> str:
    """The perplexity; empty for a criterion that predicts no words."""
    return f"{row['ppl']:.2f}" if "ppl" in row else ""


def _nll_loss(row: Statistics) -> float:
    """The loss without label smoothing; a criterion without smoothing logs the loss alone."""
    return row.get("nll_loss", row["loss"])


class Result(NamedTuple):
    """The result of a training run.

    Attributes:
        name: name of its directory.
        updates: number of updates.
        loss: lowest loss on the validation set, in bits per token, with label smoothing.
        nll_loss: loss without label smoothing, at the same update.
        valid_bleu: tokenised BLEU on the validation set; None if it was not generated.
        test_bleu: tokenised BLEU on the test set; None if it was not generated.
        seconds: training time, validation and checkpoints included, of all processes together;
            None if one of them did not finish, as a process that is killed logs no time.
        parameters: number of parameters; None if the log does not say it.
        valid_ppl, test_ppl: perplexities of ``fairseq-eval-lm``; None if it was not run.
        valid_chrf, test_chrf: chrF of raw text by ``fairseq-lrn score``; None if it was not run.
    """

    name: str
    updates: int
    loss: float
    nll_loss: float
    valid_bleu: Optional[float]
    test_bleu: Optional[float]
    seconds: Optional[float]
    parameters: Optional[float] = None
    valid_ppl: Optional[float] = None
    test_ppl: Optional[float] = None
    valid_chrf: Optional[float] = None
    test_chrf: Optional[float] = None


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
        lowest = min(history, key=lambda row: _diverged_last(row["loss"]))
        seconds = DONE.findall("\n".join(lines))
        started = sum(PARAMETERS.search(line) is not None for line in lines)
        rows.append(
            Result(
                os.path.basename(os.path.normpath(directory)),
                int(history[-1]["num_updates"]),
                lowest["loss"],
                _nll_loss(lowest),
                _optional_bleu(directory, "valid"),
                _optional_bleu(directory, "test"),
                sum(map(float, seconds)) if seconds and len(seconds) >= started else None,
                _last_number(PARAMETERS, lines),
                _optional_number(PERPLEXITY, directory, "eval-valid.log"),
                _optional_number(PERPLEXITY, directory, "eval-test.log"),
                _optional_number(CHRF, directory, "score-valid.txt"),
                _optional_number(CHRF, directory, "score-test.txt"),
            )
        )
    if not rows:
        raise InputError(
            "no directory has a train.log with a validation: give directories of training runs, "
            "as scripts/multi30k.sh makes them"
        )
    return rows


def best(rows: Sequence[Result]) -> Result:
    """The result with the lowest loss on the validation set.

    Raises:
        InputError: no loss is a number.
    """
    lowest = min(rows, key=lambda row: _diverged_last(row.loss))
    if math.isnan(lowest.loss):
        raise InputError("all training runs diverged: lower the learning rate")
    return lowest


def _diverged_last(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _optional_bleu(directory: str, subset: str) -> Optional[float]:
    path = os.path.join(directory, f"generate-{subset}.txt")
    return read_bleu(path) if os.path.isfile(path) else None


def _optional_number(pattern: "re.Pattern[str]", directory: str, name: str) -> Optional[float]:
    path = os.path.join(directory, name)
    return _last_number(pattern, read_log(path)) if os.path.isfile(path) else None


def _last_number(pattern: "re.Pattern[str]", lines: Iterable[str]) -> Optional[float]:
    """The number in the last line that has one; None if there is no such line."""
    found = list(filter(None, map(pattern.search, lines)))
    return float(found[-1].group(1).replace(",", "")) if found else None


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
    """Markdown tables of results: one of translation models, and one of language models."""
    language_models = [row for row in rows if row.valid_ppl is not None]
    others = [row for row in rows if row.valid_ppl is None]
    tables = [_translation_table(others)] if others else []
    if language_models:
        tables.append(_language_model_table(language_models))
    return "\n\n".join(tables)


def seeds_table(rows: Sequence[Result]) -> str:
    """A Markdown table of translation models, with one row for all seeds of a model.

    A score is the mean over the seeds, with its range where there are several; it is empty if one
    of them has none. Runs of one model have equal names but for the last ``-SEED``, and equal
    numbers of updates and of parameters.

    Raises:
        InputError: a run is that of a language model.
    """
    groups: Dict[Tuple[str, int, str], List[Result]] = {}
    for row in rows:
        if row.valid_ppl is not None:
            raise InputError(
                f"{row.name} is a language model, but only translation models have one row for all "
                "seeds: leave it out"
            )
        key = (re.sub(r"-\d+$", "", row.name), row.updates, _cell(_millions(row), 2))
        groups.setdefault(key, []).append(row)
    lines = [
        "| model | parameters, millions | updates | seeds | valid loss | valid BLEU | valid chrF "
        "| test BLEU | test chrF |",
        "| --- " + "| ---: " * 8 + "|",
    ]
    for (name, updates, size), group in groups.items():
        cells = [_mean_and_range([row.loss for row in group], 3)]
        for score in ("valid_bleu", "valid_chrf", "test_bleu", "test_chrf"):
            cells.append(_mean_and_range([getattr(row, score) for row in group], 2))
        lines.append(f"| {name} | {size} | {updates} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_and_range(values: Sequence[Optional[float]], digits: int) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""  # a mean of fewer seeds than the row says
    mean = f"{sum(known) / len(known):.{digits}f}"
    if len(known) == 1:
        return mean
    return f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _translation_table(rows: Sequence[Result]) -> str:
    lines = [
        "| run | parameters, millions | updates | valid loss | valid nll_loss | valid BLEU "
        "| test BLEU | training, s |",
        "| --- " + "| ---: " * 7 + "|",
    ]
    for row in rows:
        cells = [_cell(row.valid_bleu, 2), _cell(row.test_bleu, 2), _cell(row.seconds, 0)]
        lines.append(
            f"| {row.name} | {_cell(_millions(row), 2)} | {row.updates} | {row.loss:.3f} "
            f"| {row.nll_loss:.3f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _language_model_table(rows: Sequence[Result]) -> str:
    lines = [
        "| run | parameters, millions | updates | valid ppl | test ppl | training, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = [_cell(_millions(row), 2), str(row.updates), _cell(row.valid_ppl, 2)]
        cells += [_cell(row.test_ppl, 2), _cell(row.seconds, 0)]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _millions(row: Result) -> Optional[float]:
    return None if row.parameters is None else row.parameters / 1e6


def _cell(value: Optional[float], digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
