"""Plots of training runs, of attention, and of how much a recurrence keeps of each subword."""

import io
import os
from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.analysis import training_log
from fairseq_lrn.analysis.memory import END, Memory
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE
from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write
from fairseq_lrn.generation.translator import Translation

FORMATS = (".png", ".svg", ".pdf")
DPI, MAX_PIXELS = 150, 10_000  # resolution, and largest width and height of a picture
MAX_WORDS = 200  # no picture shows the labels of more
SPACE = "\u2423"  # shown for a subword that is a space by itself


def draw_memory(memory: Memory, path: str) -> None:
    """Draw the weights as a heat map, and beside it their long-term and their short-term part.

    Args:
        memory: result of :func:`fairseq_lrn.analysis.memory.memory`.
        path: file to write.

    Raises:
        InputError: the sentence has more than :data:`MAX_WORDS` subwords; see also :func:`write`.
    """
    labels = subword_labels(memory.subwords)
    if len(labels) > MAX_WORDS:
        raise InputError(
            f"the sentence has {len(labels)} subwords, more than the limit of {MAX_WORDS}: give a "
            "shorter one"
        )
    size = max(3.2, 0.28 * len(labels))
    figure, panels = new_figure(1, 3, (3 * size + 2, size + 1.2))
    maps = {
        "weight: input gate \u00d7 forget gates": memory.weights,
        "long-term: forget gates": memory.long_term,
        "short-term: input gate": torch.diag(memory.short_term),
    }
    for panel, (title, values) in zip(panels, maps.items()):
        heat_map(panel, values, labels, labels, "subword", "state after subword")
        panel.set_title(title, fontsize=9)
    write(figure, path)


def subword_labels(subwords: Sequence[str]) -> List[str]:
    """The labels of subwords: without sentencepiece's mark for a space."""
    return [subword.replace(SENTENCEPIECE_SPACE, "") or SPACE for subword in subwords]


def draw_attention(translation: Translation, path: str) -> None:
    """Draw the attention between the words of a translation and the words of its source.

    Args:
        translation: a translation with attention.
        path: file to write.

    Raises:
        InputError: the source has no words or more than :data:`MAX_WORDS`, or the translation was
            made without attention; see also :func:`write`.
    """
    if not translation.source_words:
        raise InputError("the sentence is empty: give a sentence with words")
    if translation.attention is None:
        raise InputError("ask for attention: hypotheses(..., attention=True)")
    columns, rows = [*translation.source_words, END], [*translation.words, END]
    if max(len(columns), len(rows)) > MAX_WORDS:
        raise InputError(
            f"source and translation have {len(columns)} and {len(rows)} words, more than the "
            f"limit of {MAX_WORDS}: give a shorter sentence"
        )
    figure, panels = new_figure(1, 1, (0.32 * len(columns) + 2.2, 0.28 * len(rows) + 1.8))
    heat_map(panels[0], translation.attention, rows, columns, "source", "translation")
    write(figure, path)


def draw_curves(logs: Sequence[str], path: str, metric: str = "nll_loss") -> None:
    """Draw a statistic of training and validation over the number of updates.

    Each log has one colour. If a log has the BLEU of validations (``--eval-bleu``), a second panel
    shows it.

    Args:
        logs: output of ``fairseq-train --log-format simple``; a directory stands for its
            ``train.log``.
        path: file to write.
        metric: name of the statistic, e.g. ``loss``, ``nll_loss``, ``ppl``, ``bleu``.

    Raises:
        InputError: a log has no such statistic; see also :func:`write`.
    """
    runs = []
    for log in logs:
        file = os.path.join(log, "train.log") if os.path.isdir(log) else log
        training, validation = training_log.training_and_validation(file)
        names = {name for row in (*training, *validation) for name in row}
        names -= {"epoch", "num_updates"}
        if metric not in names:
            raise InputError(f"{file} has no {metric}: choose from {', '.join(sorted(names))}")
        runs.append((training, validation))
    bleu = metric != "bleu" and any("bleu" in row for _, rows in runs for row in rows)
    figure, panels = new_figure(1 + bleu, 1, (6.4, 4.0 + 2.4 * bleu))
    panels[-1].sharex(panels[0])
    for color, (name, (training, validation)) in enumerate(zip(distinct_names(logs), runs)):
        label = f"{name}, " if len(logs) > 1 else ""
        style = {"color": f"C{color}", "linewidth": 1.4}
        line(panels[0], training, metric, label=f"{label}training", alpha=0.4, **style)
        line(panels[0], validation, metric, label=f"{label}validation", marker=".", **style)
        if bleu:
            line(panels[1], validation, "bleu", label=f"{label}validation", marker=".", **style)
    for panel, name in zip(panels, (metric, "BLEU")):
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    panels[-1].set_xlabel("updates")
    write(figure, path)


def line(panel: Any, rows: Sequence[training_log.Statistics], metric: str, **style: Any) -> None:
    """Draw a statistic over the number of updates, if there is any.

    Args:
        panel: panel of a figure.
        rows: statistics; those without *metric* are left out.
        metric: name of the statistic.
        style: arguments of matplotlib's ``plot``.
    """
    points = [(row["num_updates"], row[metric]) for row in rows if metric in row]
    if points:
        panel.plot(*zip(*points), **style)


def distinct_names(paths: Sequence[str]) -> List[str]:
    """The shortest suffixes of the paths that differ from each other, without ``train.log``."""
    parts = []
    for path in paths:
        path = os.path.abspath(path)
        path = os.path.dirname(path) if os.path.basename(path) == "train.log" else path
        parts.append(path.split(os.sep))
    for length in range(1, max(map(len, parts)) + 1):
        names = [os.sep.join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def new_figure(rows: int, columns: int, size: Tuple[float, float]) -> Tuple[Any, Any]:
    """A figure of matplotlib, and the array of its panels.

    Args:
        rows, columns: numbers of panels.
        size: width and height in inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def heat_map(
    panel: Any,
    values: Tensor,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    x_label: str,
    y_label: str,
) -> None:
    """Draw non-negative values as a heat map.

    Args:
        panel: panel of a figure.
        values: ``R x C``; a larger value is darker.
        row_labels: labels of the R rows.
        column_labels: labels of the C columns.
        x_label, y_label: labels of the axes.
    """
    image = panel.imshow(values.numpy(), cmap="Blues", vmin=0.0, aspect="auto")
    panel.set_xticks(range(len(column_labels)), column_labels, rotation=90, fontsize=8)
    panel.set_yticks(range(len(row_labels)), row_labels, fontsize=8)
    panel.set_xlabel(x_label, fontsize=8)
    panel.set_ylabel(y_label, fontsize=8)
    panel.figure.colorbar(image, ax=panel, fraction=0.04, pad=0.02).ax.tick_params(labelsize=7)


def write(figure: Any, path: str) -> None:
    """Write a figure in the format that the suffix of *path* names.

    Raises:
        InputError: the suffix is none of :data:`FORMATS`, or the file cannot be written.
    """
    check_format(path)
    picture = io.BytesIO()
    dpi = min(DPI, MAX_PIXELS / max(figure.get_size_inches()))
    figure.savefig(picture, dpi=dpi, format=path.rsplit(".", 1)[1].lower())
    with atomic_write(path) as file:
        file.write(picture.getvalue())


def check_format(path: str) -> None:
    """Refuse the name of a file whose format is unknown.

    Raises:
        InputError: its suffix is none of :data:`FORMATS`.
    """
    if not path.lower().endswith(FORMATS):
        raise InputError(f"{path} must end in one of {', '.join(FORMATS)}")
