"""Tables of training runs, from the logs of fairseq's commands."""

import math
import os
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from benchmarks.rows import markdown_table
from fairseq_lrn.analysis.training_log import VALID, Statistics, read_log, statistics
from fairseq_lrn.errors import InputError

DONE = re.compile(r"done training in ([\d.]+) seconds")
GENERATE = re.compile(r"Generate .*BLEU4 = ([\d.]+)")
CHRF = re.compile(r"chrF2\S* = ([\d.]+)")
PERPLEXITY = re.compile(r"Perplexity: ([\d.]+|inf|nan)")
PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")


def validation_table(rows: Sequence[Statistics]) -> str:
    """A Markdown table of validations."""
    columns = ("epoch", "updates", "loss", "nll_loss", "ppl")
    cells = [
        (
            f"{row['epoch']:.0f}",
            f"{row['num_updates']:.0f}",
            f"{row['loss']:.3f}",
            f"{_nll_loss(row):.3f}",
            _cell(row.get("ppl"), 2),
        )
        for row in rows
    ]
    return markdown_table(columns, cells, text=())


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
    scores = ("valid_bleu", "valid_chrf", "test_bleu", "test_chrf")
    columns = ["model", "parameters, millions", "updates", "seeds", "valid loss"]
    columns += ["valid BLEU", "valid chrF", "test BLEU", "test chrF"]
    cells = []
    for (name, updates, size), group in groups.items():
        means = [_mean_and_range([row.loss for row in group], 3)]
        means += [_mean_and_range([getattr(row, score) for row in group], 2) for score in scores]
        cells.append((name, size, updates, len(group), *means))
    return markdown_table(columns, cells)


def _mean_and_range(values: Sequence[Optional[float]], digits: int) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""  # a mean of fewer seeds than the row says
    mean = f"{sum(known) / len(known):.{digits}f}"
    if len(known) == 1:
        return mean
    return f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _translation_table(rows: Sequence[Result]) -> str:
    columns = ["run", "parameters, millions", "updates", "valid loss", "valid nll_loss"]
    columns += ["valid BLEU", "test BLEU", "training, s"]
    cells: List[Sequence[Any]] = []
    for row in rows:
        losses = f"{row.loss:.3f}", f"{row.nll_loss:.3f}"
        scores = _cell(row.valid_bleu, 2), _cell(row.test_bleu, 2), _cell(row.seconds, 0)
        cells.append((row.name, _cell(_millions(row), 2), row.updates, *losses, *scores))
    return markdown_table(columns, cells)


def _language_model_table(rows: Sequence[Result]) -> str:
    columns = ("run", "parameters, millions", "updates", "valid ppl", "test ppl", "training, s")
    cells: List[Sequence[Any]] = []
    for row in rows:
        scores = _cell(row.valid_ppl, 2), _cell(row.test_ppl, 2), _cell(row.seconds, 0)
        cells.append((row.name, _cell(_millions(row), 2), row.updates, *scores))
    return markdown_table(columns, cells)


def _millions(row: Result) -> Optional[float]:
    return None if row.parameters is None else row.parameters / 1e6


def _cell(value: Optional[float], digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
