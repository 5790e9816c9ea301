"""Means of checkpoints: finding the checkpoints, and averaging their parameters."""

import os
import re
from typing import Any, Dict, List, Optional, Tuple

import torch

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError, cannot_read

EPOCH = re.compile(r"checkpoint(\d+)\.pt")
UPDATE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
BEST = re.compile(r"checkpoint\.best_.+_(-?\d+(?:\.\d+)?)\.pt")
# The mean is that of the checkpoints in so much of a training run, and of no more than so many.
SHARE_OF_MEAN = 1 / 6
MOST_OF_MEAN = 10


def find(
    directory: str, pattern: re.Pattern, count: int, upper_bound: Optional[int] = None
) -> List[str]:
    """The latest checkpoints of a directory, or with :data:`BEST` the best checkpoints.

    Args:
        directory: a directory of checkpoints.
        pattern: :data:`EPOCH`, :data:`UPDATE` or :data:`BEST`.
        count: number of checkpoints, at least 1.
        upper_bound: largest epoch or number of updates.

    Returns:
        *count* paths, the latest or the best first.

    Raises:
        InputError: the directory cannot be read, or has fewer checkpoints.
    """
    numbered = [
        (number, path)
        for number, path in _numbered(directory, pattern)
        if upper_bound is None or number <= upper_bound
    ]
    if len(numbered) < count:
        raise InputError(
            f"{directory} has {len(numbered)} checkpoints with names like {pattern.pattern}, "
            f"not {count}: ask for fewer, or train with a larger "
            "--keep-last-epochs, --keep-interval-updates or --keep-best-checkpoints"
        )
    descending = True
    if pattern is BEST:
        # The number is the metric; the checkpoint says whether larger is better, as for BLEU.
        options = checkpoints.options_of(checkpoints.load(numbered[0][1]), "checkpoint")
        descending = bool(options.get("maximize_best_checkpoint_metric"))
    return [path for _, path in sorted(numbered, reverse=descending)[:count]]


def last_of_run(directory: str, count: Optional[int] = None) -> List[str]:
    """The checkpoints at the end of a training run, whose mean is worth a try.

    They are those saved every so many updates, or those saved after each epoch, whichever are more;
    and in any case the end of training, which may be within an epoch. By default they belong to the
    last sixth of the updates, at most ten: earlier ones would make the mean worse.

    Args:
        directory: directory of checkpoints of one training run.
        count: largest number of checkpoints; None: by the length of the run.

    Returns:
        paths, the oldest first.

    Raises:
        InputError: the directory cannot be read, or has no checkpoints.
    """
    latest = os.path.join(directory, "checkpoint_last.pt")
    end = [latest] if os.path.isfile(latest) else []
    updates = {latest: _updates(latest)} if end else {}
    kinds: List[List[str]] = []
    limit = MOST_OF_MEAN if count is None else count
    for pattern in (UPDATE, EPOCH):
        paths = []
        for number, path in sorted(_numbered(directory, pattern), reverse=True)[:limit]:
            updates[path] = int(number) if pattern is UPDATE else _updates(path)
            paths.append(path)
        has_end = bool(end and paths) and updates[paths[0]] == updates[latest]
        kinds.append((paths if has_end else end + paths)[:limit])
    start = max(updates.values(), default=0) * (1 - SHARE_OF_MEAN)
    kept = [[path for path in paths if updates[path] >= start] for paths in kinds]
    chosen = max(range(len(kept)), key=lambda kind: len(kept[kind]))
    if not kept[chosen]:
        raise InputError(f"{directory} has no checkpoints: give the --save-dir of a training run")
    return (kept if count is None else kinds)[chosen][::-1]


def _numbered(directory: str, pattern: re.Pattern) -> List[Tuple[float, str]]:
    """The number in the name of each checkpoint of one kind, and its path."""
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise cannot_read(directory, error) from error
    matches = filter(None, map(pattern.fullmatch, names))
    return [(float(match.group(1)), os.path.join(directory, match.group())) for match in matches]


def _updates(path: str) -> int:
    history = checkpoints.load(path).get("optimizer_history") or [{}]
    return history[-1].get("num_updates", 0)


def average(paths: List[str]) -> Dict[str, Any]:
    """A checkpoint with the arithmetic mean of the parameters, which is computed in float64.

    Everything else comes from the first checkpoint, except for the state of the optimiser, which
    does not belong to the averaged parameters.

    Args:
        paths: paths of the checkpoints.

    Raises:
        InputError: a checkpoint cannot be used, or the checkpoints belong to different models.
    """
    first = checkpoints.load(paths[0])
    checksums = first["model"].pop(checkpoints.CHECKSUMS, None)
    sums = {name: value.to(torch.float64) for name, value in first["model"].items()}
    for path in paths[1:]:
        model = checkpoints.load(path)["model"]
        other = model.pop(checkpoints.CHECKSUMS, None)  # older checkpoints of a run have none
        checksums = other if checksums is None else checksums
        if other is not None and not torch.equal(other, checksums):
            raise InputError(
                f"{path} and {paths[0]} were trained with other dictionaries: give checkpoints of "
                "one training run"
            )
        if model.keys() != sums.keys() or any(
            model[name].shape != value.shape for name, value in sums.items()
        ):
            raise InputError(
                f"{path} and {paths[0]} are not checkpoints of the same model: give checkpoints of "
                "one training run"
            )
        for name, value in sums.items():
            value += model[name]
    for name, value in first["model"].items():
        mean = sums[name] / len(paths)
        first["model"][name] = (mean if value.is_floating_point() else mean.floor()).to(value.dtype)
    if checksums is not None:
        first["model"][checkpoints.CHECKSUMS] = checksums
    first.pop("last_optimizer_state", None)
    return first
