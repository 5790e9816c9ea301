"""Finding and averaging fairseq checkpoints."""

import contextlib
import os
import pickle
import re
from types import SimpleNamespace
from typing import IO, Any, Dict, Iterator, List, Optional

import torch

from fairseq_lrn.errors import InputError

EPOCH = re.compile(r"checkpoint(\d+)\.pt")
UPDATE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
PREFERRED = ("averaged.pt", "checkpoint_best.pt", "checkpoint_last.pt")
BEST = re.compile(r"checkpoint\.best_.+_(-?\d+(?:\.\d+)?)\.pt")
# What checkpoints of fairseq are made of, beside plain types, for torch before 2.4; what later ones
# do not know already, plugin.allow_checkpoint_types tells them.
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


# Options of torch.load. Before 2.4, torch cannot be told what else is harmless.
SAFELY: Dict[str, Any] = {"weights_only": True}
if not hasattr(torch.serialization, "add_safe_globals"):
    SAFELY = {
        "pickle_module": SimpleNamespace(
            __name__="safe_pickle",
            Unpickler=_Unpickler,
            load=lambda file, **options: _Unpickler(file, **options).load(),
        )
    }


def load(path: str) -> Dict[str, Any]:
    """Load a checkpoint of fairseq onto the CPU, refusing anything but data.

    Raises:
        InputError: the file is missing, damaged, holds objects that a checkpoint of fairseq
            does not need (they could run code), or is not a checkpoint of fairseq.
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
    try:
        with file:
            state = torch.load(file, map_location="cpu", **SAFELY)
    except Exception as error:  # torch raises many kinds; what matters is the file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"checkpoint {path} is damaged, or holds more than a checkpoint of fairseq needs "
            f"and was not loaded for safety ({reason}); use another checkpoint"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise InputError(f"{path} is not a checkpoint of fairseq: it has no model")
    return state


def source_lang(state: Dict[str, Any]) -> Optional[str]:
    """The language that a checkpoint translates from, if it says so: fairseq may not store it."""
    return ((state.get("cfg") or {}).get("task") or {}).get("source_lang")


def preferred(directory: str) -> str:
    """The name of the checkpoint to translate with: the mean, else the best, else the last.

    Raises:
        InputError: *directory* has none of them.
    """
    for name in PREFERRED:
        if os.path.isfile(os.path.join(directory, name)):
            return name
    raise InputError(
        f"{directory} has no {', '.join(PREFERRED[:-1])} or {PREFERRED[-1]}: name its checkpoint"
    )


def find(
    directory: str, pattern: re.Pattern, count: int, upper_bound: Optional[int] = None
) -> List[str]:
    """The *count* latest (or, of :data:`BEST`, best) checkpoints of *directory*, that one first.

    Args:
        pattern: :data:`EPOCH`, :data:`UPDATE` or :data:`BEST`; its group is the number.
        upper_bound: take no checkpoint with a larger number.

    Raises:
        InputError: there are fewer.
    """
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise InputError(f"cannot list {directory}: {error.strerror or error}") from error
    numbered = []
    for name in names:
        match = pattern.fullmatch(name)
        if match and (upper_bound is None or float(match.group(1)) <= upper_bound):
            numbered.append((float(match.group(1)), os.path.join(directory, name)))
    if len(numbered) < count:
        raise InputError(
            f"{directory} has {len(numbered)} checkpoints of the kind asked for "
            f"({pattern.pattern}), not {count}; ask for fewer, or train with larger "
            "--keep-last-epochs, --keep-interval-updates or --keep-best-checkpoints"
        )
    descending = True
    if pattern is BEST:
        # The number is the metric; only the checkpoint knows whether large is good (BLEU) or bad.
        options = (load(numbered[0][1]).get("cfg") or {}).get("checkpoint") or {}
        descending = bool(options.get("maximize_best_checkpoint_metric"))
    return [path for _, path in sorted(numbered, reverse=descending)[:count]]


def average(paths: List[str]) -> Dict[str, Any]:
    """Arithmetic mean of the parameters, accumulated in float64.

    Everything else is that of the first checkpoint, without the state of its optimiser,
    which does not belong to the averaged parameters.

    Raises:
        InputError: a checkpoint cannot be used, or they are not of the same model.
    """
    first = load(paths[0])
    sums = {name: value.to(torch.float64) for name, value in first["model"].items()}
    for path in paths[1:]:
        model = load(path)["model"]
        if model.keys() != sums.keys() or any(
            model[name].shape != value.shape for name, value in sums.items()
        ):
            raise InputError(f"{path} and {paths[0]} are not checkpoints of the same model")
        for name, value in sums.items():
            value += model[name]
    for name, value in first["model"].items():
        mean = sums[name] / len(paths)
        first["model"][name] = (mean if value.is_floating_point() else mean.floor()).to(value.dtype)
    first.pop("last_optimizer_state", None)
    return first


def save(state: Dict[str, Any], path: str) -> None:
    """Write a checkpoint; an older file of that name is replaced only by a complete new one.

    Raises:
        InputError: it cannot be written, e.g. because the disk is full.
    """
    with replacing(path) as file:
        torch.save(state, file)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Give a file to write to, which takes the name *path* when all of it is on the disk.

    Raises:
        InputError: writing failed. What was at *path* is as it was.
    """
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        reason = _system_error(error) if isinstance(error, (OSError, RuntimeError)) else None
        if reason is None:
            raise
        raise InputError(
            f"cannot write {path}: {reason.strerror or reason}; files written before are as they "
            "were: mend that, then run the command again"
        ) from error


def _system_error(error: BaseException) -> Optional[OSError]:
    """Why writing failed, if that is what failed; torch hides it behind an error of its own."""
    cause: Optional[BaseException] = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause
