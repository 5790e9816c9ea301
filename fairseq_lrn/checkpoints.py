"""Finding and averaging fairseq checkpoints."""

import os
import pickle
import re
from types import SimpleNamespace
from typing import Any, Dict, List, Mapping, Optional

import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write

EPOCH = re.compile(r"checkpoint(\d+)\.pt")
UPDATE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
PREFERRED = ("averaged.pt", "checkpoint_best.pt", "checkpoint_last.pt")
BEST = re.compile(r"checkpoint\.best_.+_(-?\d+(?:\.\d+)?)\.pt")
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
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
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
    """The name of the checkpoint to translate with: the average, else the best, else the last.

    Raises:
        InputError: *directory* has none of them.
    """
    for name in PREFERRED:
        if os.path.isfile(os.path.join(directory, name)):
            return name
    raise InputError(
        f"{directory} has no {', '.join(PREFERRED[:-1])} or {PREFERRED[-1]}: give the name of a "
        "checkpoint"
    )


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
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise InputError(f"cannot read {directory}: {error.strerror or error}") from error
    numbered = []
    for name in names:
        match = pattern.fullmatch(name)
        if match and (upper_bound is None or float(match.group(1)) <= upper_bound):
            numbered.append((float(match.group(1)), os.path.join(directory, name)))
    if len(numbered) < count:
        raise InputError(
            f"{directory} has {len(numbered)} checkpoints with names like {pattern.pattern}, "
            f"not {count}: ask for fewer, or train with a larger "
            "--keep-last-epochs, --keep-interval-updates or --keep-best-checkpoints"
        )
    descending = True
    if pattern is BEST:
        # The number is the metric; the checkpoint says whether larger is better, as for BLEU.
        options = options_of(load(numbered[0][1]), "checkpoint")
        descending = bool(options.get("maximize_best_checkpoint_metric"))
    return [path for _, path in sorted(numbered, reverse=descending)[:count]]


def average(paths: List[str]) -> Dict[str, Any]:
    """A checkpoint with the arithmetic mean of the parameters, which is computed in float64.

    Everything else comes from the first checkpoint, except for the state of the optimiser, which
    does not belong to the averaged parameters.

    Args:
        paths: paths of the checkpoints.

    Raises:
        InputError: a checkpoint cannot be used, or the checkpoints belong to different models.
    """
    first = load(paths[0])
    sums = {name: value.to(torch.float64) for name, value in first["model"].items()}
    for path in paths[1:]:
        model = load(path)["model"]
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
    first.pop("last_optimizer_state", None)
    return first


def save(state: Dict[str, Any], path: str) -> None:
    """Write a checkpoint; a complete new file replaces an older one of the same name.

    Raises:
        InputError: the file cannot be written, e.g. because the disk is full.
    """
    with atomic_write(path) as file:
        torch.save(state, file)
