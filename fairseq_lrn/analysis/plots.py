"""What is inside a trained model, and how it came about, as pictures: ``scripts/plot.py``."""

import os
from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.analysis import training_log
from fairseq_lrn.analysis.memory import END, Memory
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import Translation

ENDINGS = (".png", ".svg", ".pdf")


def draw_memory(seen: Memory, path: str) -> None:
    """The weights as a heat map, and beside it their long-term and short-term part.

    Raises:
        InputError: see :func:`write`.
    """
    pieces = [piece.replace("\u2581", "") or "\u2423" for piece in seen.pieces]
    size = max(3.2, 0.28 * len(pieces))
    figure, axes = figure_of(1, 3, (3 * size + 2, size + 1.2))
    short_term = torch.diag(seen.short_term)
    panels = {
        "weight: input gate \u00d7 forget gates": seen.weights,
        "long-term: forget gates": seen.long_term,
        "short-term: input gate": short_term,
    }
    for panel, (title, values) in zip(axes, panels.items()):
        heat_map(panel, values, pieces, pieces, "of the piece", "in the state after")
        panel.set_title(title, fontsize=9)
    write(figure, path)


def draw_attention(translation: Translation, path: str) -> None:
    """Attention between the words of a sentence and of its translation.

    Raises:
        InputError: the translation was made without attention; see also :func:`write`.
    """
    if translation.attention is None:
        raise InputError("ask for attention: hypotheses(..., attention=True)")
    columns, rows = [*translation.source_words, END], [*translation.words, END]
    figure, axes = figure_of(1, 1, (0.32 * len(columns) + 2.2, 0.28 * len(rows) + 1.8))
    heat_map(axes[0], translation.attention, rows, columns, "source", "translation")
    write(figure, path)


def draw_curves(logs: Sequence[str], path: str, metric: str = "nll_loss") -> None:
    """A statistic of validation by the number of updates, a line for each log.

    Args:
        logs: what ``fairseq-train --log-format simple`` printed; a directory stands for its
            ``train.log``.
        path: of the picture.
        metric: e.g. ``loss``, ``nll_loss``, ``ppl``, ``bleu``.

    Raises:
        InputError: a log has no validation, or not this statistic; see also :func:`write`.
    """
    lines = []
    for log in logs:
        file = os.path.join(log, "train.log") if os.path.isdir(log) else log
        rows = training_log.validations(file)
        known = [row for row in rows if metric in row]
        if not known:
            names = ", ".join(sorted(rows[0].keys() - {"epoch", "num_updates"}))
            raise InputError(f"{file} has no {metric}, but {names}")
        lines.append(([row["num_updates"] for row in known], [row[metric] for row in known]))
    figure, axes = figure_of(1, 1, (6.4, 4.0))
    for name, (updates, values) in zip(distinct_names(logs), lines):
        axes[0].plot(updates, values, label=name, linewidth=1.4)
    axes[0].set_xlabel("updates")
    axes[0].set_ylabel(f"{metric} on the validation set")
    axes[0].grid(alpha=0.3)
    axes[0].legend(frameon=False)
    write(figure, path)


def distinct_names(paths: Sequence[str]) -> List[str]:
    """The shortest endings of the paths that tell them apart, without ``train.log``."""
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


def figure_of(rows: int, columns: int, size: Tuple[float, float]) -> Tuple[Any, Any]:
    """A figure for a file, and its panels in a list.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def heat_map(
    panel: Any,
    values: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    across: str,
    down: str,
) -> None:
    """*values* from 0 on, the larger the darker, with a name for each row and column."""
    image = panel.imshow(values.numpy(), cmap="Blues", vmin=0.0, aspect="auto")
    panel.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
    panel.set_yticks(range(len(rows)), rows, fontsize=8)
    panel.set_xlabel(across, fontsize=8)
    panel.set_ylabel(down, fontsize=8)
    panel.figure.colorbar(image, ax=panel, fraction=0.04, pad=0.02).ax.tick_params(labelsize=7)


def write(figure: Any, path: str) -> None:
    """Write a picture; its kind is that of the path's ending.

    Raises:
        InputError: the ending is not one of :data:`ENDINGS`, or the file cannot be written.
    """
    if not path.endswith(ENDINGS):
        raise InputError(f"{path} must end in one of {', '.join(ENDINGS)}")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
