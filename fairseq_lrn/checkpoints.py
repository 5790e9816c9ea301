"""Loading and saving fairseq's checkpoints, and choosing which one a model is loaded from."""

import contextlib
import hashlib
import json
import logging
import math
import os
import pickle
import re
import tempfile
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

import torch

from fairseq_lrn.errors import InputError, cannot_read
from fairseq_lrn.files import atomic_write

logger = logging.getLogger(__name__)

CHECKSUMS = "dictionary_checksums"  # a buffer of models, see models/dictionaries.py
AVERAGED = "averaged.pt"
# Why the mean was kept; beside it.
COMPARISON = "averaged.json"
# The checkpoints to translate with, and what they are.
PREFERRED = {
    AVERAGED: "a mean of checkpoints",
    "checkpoint_best.pt": "the best on the validation set",
    "checkpoint_last.pt": "the newest",
}
# For torch before 2.4: the types in fairseq's checkpoints, apart from plain ones. Later versions
# get them from compat.checkpoint_loading.
HARMLESS = re.compile(
    r"collections\.OrderedDict|argparse\.Namespace|_codecs\.encode"
    r"|torch\.(\w+Storage|Size|device|u?int\d+|b?float\d+|bool)"
    r"|torch\._utils\._rebuild_(tensor_v2|parameter)"
    r"|numpy\.(ndarray|dtype)|numpy\._?core\.multiarray\._reconstruct"
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if HARMLESS.fullmatch(f"{module}.{name}"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it has a {module}.{name}")


# Options of torch.load. Before 2.4, torch has no list of further harmless types.
SAFE_LOADING: Dict[str, Any] = {"weights_only": True}
if not hasattr(torch.serialization, "add_safe_globals"):
    SAFE_LOADING = {
        "pickle_module": SimpleNamespace(
            __name__="safe_pickle",
            Unpickler=_Unpickler,
            load=lambda file, **options: _Unpickler(file, **options).load(),
        )
    }


def load(path: str) -> Dict[str, Any]:
    """Load a fairseq checkpoint onto the CPU, and refuse anything except data.

    Raises:
        InputError: the file is missing, is damaged, holds objects that a fairseq checkpoint does
            not need (they could run code), or is not a fairseq checkpoint.
    """
    if os.path.isdir(path):
        raise InputError(f"{path} is a directory: give a checkpoint in it, e.g. checkpoint_best.pt")
    try:
        file = open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise cannot_read(f"checkpoint {path}", error) from error
    try:
        with file:
            state = torch.load(file, map_location="cpu", **SAFE_LOADING)
    except Exception as error:  # torch raises many types of errors; the file is at fault
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"checkpoint {path} is damaged, or holds objects that a fairseq checkpoint does not "
            f"need; it was not loaded for safety ({reason}): use another checkpoint"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise InputError(f"{path} is not a fairseq checkpoint: it has no model; use another file")
    return state


def options_of(state: Dict[str, Any], part: str) -> Dict[str, Any]:
    """A part of the options that a checkpoint was trained with, as a dictionary.

    fairseq stores options as dictionaries, dataclasses or namespaces, or not at all. Old versions
    store one namespace for all parts.

    Args:
        state: the checkpoint.
        part: name of the part, e.g. ``"task"`` or ``"checkpoint"``.
    """
    cfg = state.get("cfg")
    if cfg is None:
        return _as_dict(state.get("args"))
    return _as_dict(_as_dict(cfg).get(part))


def _as_dict(options: Any) -> Dict[str, Any]:
    return dict(options) if isinstance(options, Mapping) else dict(getattr(options, "__dict__", {}))


def task_options(state: Dict[str, Any]) -> Dict[str, Any]:
    """The options of the task that a checkpoint was trained with, as a dictionary."""
    return options_of(state, "task")


def task_name(state: Dict[str, Any]) -> Optional[str]:
    """The name of the task that a checkpoint was trained with, or None."""
    options = task_options(state)
    return options.get("_name") or options.get("task")


def source_lang(state: Dict[str, Any]) -> Optional[str]:
    """The language that a checkpoint translates from, or None: fairseq does not always store it."""
    return task_options(state).get("source_lang")


def preferred(directory: str) -> str:
    """The name of the checkpoint to translate with: the mean, else the best, else the last.

    Raises:
        InputError: *directory* has none of them.
    """
    for name in _present(directory):
        return name
    *names, last = PREFERRED
    raise InputError(
        f"{directory} has no {', '.join(names)} or {last}: give the name of a checkpoint"
    )


def _present(directory: str) -> List[str]:
    """The names in :data:`PREFERRED` that *directory* has."""
    return [name for name in PREFERRED if os.path.isfile(os.path.join(directory, name))]


def preference(directory: str) -> str:
    """Why :func:`preferred` chooses its checkpoint from *directory*, in words."""
    chosen, *others = _present(directory)
    text = PREFERRED[chosen]
    comparison = read_comparison(directory) if chosen == AVERAGED else None
    if comparison is not None:
        return f"the mean of {len(comparison.inputs)} checkpoints, {comparison.text}"
    if others:
        text += f", which takes precedence over {' and '.join(others)}"
        if chosen == AVERAGED:
            text += f"; fairseq-lrn average {directory} compares them"
    return text


class Comparison(NamedTuple):
    """How a mean of checkpoints did on the validation set.

    Attributes:
        inputs: names of the averaged checkpoints.
        metric: the metric by which training chose its best checkpoint, e.g. ``loss`` or ``bleu``.
        mean: its value for the mean.
        other: the checkpoint that is used otherwise.
        value: its value for *other*.
        maximize: whether larger is better.
        files: fingerprints of the mean and of the checkpoints beside it, by name; earlier versions
            did not record them.
    """

    inputs: List[str]
    metric: str
    mean: float
    other: str
    value: float
    maximize: bool
    files: Dict[str, str] = {}

    @property
    def is_better(self) -> bool:
        """Whether the mean is better than the other checkpoint, whose value may be undefined."""
        if math.isnan(self.value):
            return not math.isnan(self.mean)
        return self.mean > self.value if self.maximize else self.mean < self.value

    @property
    def text(self) -> str:
        """The comparison in words."""
        word = "better" if self.is_better else "not better"
        return (
            f"{word} on the validation set than {self.other}: {self.metric} {self.mean:.6g} "
            f"against {self.value:.6g}"
        )


def read_comparison(directory: str) -> Optional[Comparison]:
    """Why *directory* has its mean, or None where ``fairseq-lrn average`` did not compare it."""
    path, mean = (os.path.join(directory, name) for name in (COMPARISON, AVERAGED))
    try:
        with open(path, encoding="utf-8") as file:
            comparison = Comparison(**json.load(file))
        if comparison.files:
            is_of_mean = comparison.files.get(AVERAGED) == _fingerprint(mean)
        else:  # a mean that was written later is another one
            is_of_mean = os.path.getmtime(path) >= os.path.getmtime(mean)
        return comparison if is_of_mean and comparison.text else None  # a damaged file has no text
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_comparison(comparison: Comparison, directory: str) -> None:
    """Write *comparison* beside the mean, with fingerprints of the checkpoints that are there.

    Raises:
        InputError: the file cannot be written.
    """
    files = {name: _fingerprint(os.path.join(directory, name)) for name in _present(directory)}
    comparison = comparison._replace(files=files)
    with atomic_write(os.path.join(directory, COMPARISON)) as file:
        file.write(json.dumps(comparison._asdict(), indent=1).encode())


def newer_than_average(directory: str) -> Optional[str]:
    """The name of a checkpoint that is newer than ``averaged.pt`` in *directory*, or None."""
    others = {name: os.path.join(directory, name) for name in _present(directory)}
    mean = others.pop(AVERAGED, None)
    if mean is None:
        return None
    comparison = read_comparison(directory)
    if comparison is not None and comparison.files:  # times differ in a copy of the directory
        newer = [
            name
            for name, path in others.items()
            if comparison.files.get(name) != _fingerprint(path)
        ]
    else:
        time = os.path.getmtime(mean)
        newer = [name for name, path in others.items() if os.path.getmtime(path) > time]
    return max(newer, key=lambda name: os.path.getmtime(others[name]), default=None)


def _fingerprint(path: str) -> str:
    """What tells a checkpoint from others: its size, and its end, where torch has its checksums."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(max(0, size - (1 << 16)))
        return f"{size}-{hashlib.sha256(file.read()).hexdigest()[:16]}"


def chosen(path: Any, checkpoint: Any = None) -> List[str]:
    """The checkpoints to load. Their paths, and why they are chosen, are logged.

    Args:
        path: a checkpoint, or a directory of checkpoints; or several of them, joined as for
            :func:`split_paths` or in a list.
        checkpoint: name of a checkpoint in the directory; by default the one that
            :func:`preferred` finds.

    Raises:
        InputError: an argument is not a path, *checkpoint* is given with a path that is not a
            directory, or a directory has no checkpoint.
    """
    if isinstance(path, (list, tuple)):
        paths = [decoded("path", element) for element in path]
    else:
        paths = split_paths(decoded("path", path))
    if not paths:
        raise InputError("give at least one checkpoint")
    name = None if checkpoint is None else decoded("checkpoint", checkpoint)
    return [_chosen_from(path, name) for path in paths]


def _chosen_from(path: str, name: Optional[str]) -> str:
    reason = ""
    if os.path.isdir(path):
        if name is None:
            name, reason = preferred(path), f" ({preference(path)})"
        path = os.path.join(path, name)
    elif name is not None:
        raise InputError(
            f"checkpoint={name} is a name in a directory, but {path} is not a directory: give the "
            "directory, or only the path of the checkpoint"
        )
    logger.info("loading %s%s", path, reason)
    newer = newer_than_average(os.path.dirname(path)) if reason else None
    if newer is not None:
        logger.warning("%s is newer than %s: average again to include it", newer, AVERAGED)
    return path


def decoded(name: str, path: Any) -> str:
    """The string of a path.

    Raises:
        InputError: *path* is not a path; the message names it *name*.
    """
    try:
        return os.fsdecode(path)
    except TypeError as error:
        raise InputError(f"{name} must be a path, not {type(path).__name__}") from error


def split_paths(path: str) -> List[str]:
    """The paths in a list that is joined by ``:`` (``;`` on Windows), as fairseq joins them.

    A path may itself contain the separator if the file or its directory exists.
    """
    parts, paths = path.split(os.pathsep), []
    while parts:
        candidates = [os.pathsep.join(parts[:count]) for count in range(len(parts), 1, -1)]
        paths.append(next(filter(_is_one_path, candidates), parts[0]))
        del parts[: paths[-1].count(os.pathsep) + 1]
    return paths


def _is_one_path(path: str) -> bool:
    directory, name = os.path.split(path)
    return os.path.exists(path) or (os.pathsep not in name and os.path.isdir(directory))


@contextlib.contextmanager
def readable(directory: str) -> Iterator[str]:
    """A path of *directory* that fairseq can read: it splits paths at ``:`` (``;`` on Windows)."""
    if os.pathsep not in directory or not os.path.isdir(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as temporary:
        link = os.path.join(temporary, "link")
        os.symlink(os.path.abspath(directory), link)
        yield link


def save(state: Dict[str, Any], path: str) -> None:
    """Write a checkpoint; a complete new file replaces an older one of the same name.

    Raises:
        InputError: the file cannot be written, e.g. because the disk is full.
    """
    with atomic_write(path) as file:
        torch.save(state, file)
