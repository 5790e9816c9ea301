"""What can compute the recurrence, and the choice among it."""

import importlib.util
import logging
import os
import threading
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

import torch

from fairseq_lrn.ops import extension

BACKENDS = ("reference", "cpp", "triton")
BACKEND_VARIABLE = "FAIRSEQ_LRN_BACKEND"
# The fused kernel for a kind of device.
FUSED = {"cpu": "cpp", "cuda": "triton"}
INTERPRETER_VARIABLE = "TRITON_INTERPRET"

logger = logging.getLogger(__name__)


class Backend(NamedTuple):
    """One way to compute the recurrence.

    Attributes:
        name: ``"reference"``, ``"cpp"`` or ``"triton"``.
        state: ``"ready"``, ``"not loaded"`` (it will be tried on first use) or
            ``"unavailable"``.
        reason: what the state rests on, in words.
    """

    name: str
    state: str
    reason: str


# What became of loading a backend for a kind of device: whether it is there, and the reason.
_loaded: Dict[Tuple[str, str], Tuple[bool, str]] = {}
_choices: Dict[Tuple[str, Optional[str], Optional[str]], str] = {}
_announced: Set[Tuple[str, str]] = set()
_lock = threading.RLock()


def backends() -> List[Backend]:
    """Each backend with its state and the reason. Loads and builds nothing."""
    return [
        Backend("reference", "ready", "plain torch operations, on any device"),
        *(_describe(name) for name in BACKENDS[1:]),
    ]


def choose(device_type: str, requested: Optional[str] = None) -> str:
    """The backend that computes tensors of *device_type*; loads it if need be.

    Args:
        device_type: as in ``torch.device.type``.
        requested: a backend's name, ``"auto"``, or None: what ``FAIRSEQ_LRN_BACKEND`` says.

    Raises:
        ValueError: there is no backend of that name.
        RuntimeError: the one requested cannot be had; the message says why.
    """
    key = (device_type, requested, os.environ.get(BACKEND_VARIABLE))
    choice = _choices.get(key)
    if choice is None:
        with _lock:
            choice = _choices[key] = _choose(*key)
    return choice


# torch.compile asks for the choice while it traces, instead of tracing how it is made. As
# torch.compiler.assume_constant_result does, which would import the whole compiler here.
choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _choose(device_type: str, requested: Optional[str], variable: Optional[str]) -> str:
    source, name = ("backend", requested)
    if requested is None:
        source, name = BACKEND_VARIABLE, variable or "auto"
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"{source}={name!r} is unknown; choose from {('auto', *BACKENDS)}")
    if name == "reference":
        _announce(logging.INFO, device_type, name, f"as {source} says")
        return name
    if name != "auto":
        works, reason = _load(name, device_type)
        if not works:
            raise RuntimeError(f"{source}={name!r} cannot be used: {reason}")
        _announce(logging.INFO, device_type, name, f"as {source} says; {reason}")
        return name
    fused = FUSED.get(device_type)
    if fused is None:
        reason = "which is slow; there is no fused kernel for it"
        _announce(logging.WARNING, device_type, "reference", reason)
        return "reference"
    works, reason = _load(fused, device_type)
    if works:
        _announce(logging.INFO, device_type, fused, reason)
        return fused
    reason = f"which is slow; {fused} is not available: {reason}"
    _announce(logging.WARNING, device_type, "reference", reason)
    return "reference"


def _announce(level: int, device_type: str, name: str, reason: str) -> None:
    if (device_type, name) not in _announced:
        _announced.add((device_type, name))
        logger.log(level, "kernels on %s: %s, %s", device_type, name, reason)


def _describe(name: str) -> Backend:
    tried = [result for (tried_name, _), result in _loaded.items() if tried_name == name]
    if tried:
        works, reason = max(tried)  # if it is there for any kind of device
        return Backend(name, "ready" if works else "unavailable", reason)
    if name == "cpp":
        found = extension.find()
        if found is not None:
            return Backend(name, "not loaded", f"built: {found}")
        obstacle = extension.obstacle()
        if obstacle is not None:
            return Backend(name, "unavailable", obstacle)
        return Backend(name, "not loaded", "not built yet; that happens on first use")
    reason = _no_triton("cpu" if _interpreting("cpu") else "cuda")
    if reason:
        return Backend(name, "unavailable", reason)
    return Backend(name, "not loaded", "installed; compiled on first use")


def _load(name: str, device_type: str) -> Tuple[bool, str]:
    key = (name, device_type)
    if key not in _loaded:
        load = _load_cpp if name == "cpp" else _load_triton
        _loaded[key] = load(device_type)
    return _loaded[key]


def _is_loaded(name: str, device_type: str) -> bool:
    return _loaded.get((name, device_type), (False, ""))[0]


def _load_cpp(device_type: str) -> Tuple[bool, str]:
    if device_type != "cpu":
        return False, f"it computes tensors on cpu, but these are on {device_type}"
    if _is_loaded("triton", "cpu"):
        return False, f"{INTERPRETER_VARIABLE}=1: Triton's interpreter has its place here"
    try:
        path = extension.find() or extension.build()
        torch.ops.load_library(str(path))
    except (extension.BuildError, OSError) as error:
        # torch's own message leaves out what the loader said.
        return False, f"{error} ({error.__cause__})" if error.__cause__ else str(error)
    return True, f"C++ kernel, {torch.backends.cpu.get_cpu_capability()}, {path}"


def _load_triton(device_type: str) -> Tuple[bool, str]:
    reason = _no_triton(device_type)
    if reason:
        return False, reason
    if _is_loaded("cpp", device_type):
        return False, (
            "the C++ kernel already has its place in this process; start a new one with "
            f"{BACKEND_VARIABLE}=triton"
        )
    try:
        import triton

        if int(triton.__version__.split(".")[0]) < 3:
            return False, f"Triton {triton.__version__} is too old; pip install 'triton>=3.0'"
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        from fairseq_lrn.ops import triton_scan

        # Triton compiles when a kernel first runs, which may fail for want of a C compiler. With
        # real tensors, even while torch.compile traces with fake ones.
        with unset_fake_temporarily():
            triton_scan.try_out(device_type)
        triton_scan.register(device_type)
    except Exception as error:  # whatever a Triton that does not fit torch or the driver raises
        return False, f"{type(error).__name__}: {error}"
    interpreted = _interpreting(device_type)
    how = "in Triton's interpreter" if interpreted else torch.cuda.get_device_name()
    return True, f"Triton {triton.__version__}, {how}"


def _interpreting(device_type: str) -> bool:
    return device_type == "cpu" and os.environ.get(INTERPRETER_VARIABLE) == "1"


def _no_triton(device_type: str) -> str:
    """Why Triton cannot be used, or an empty string. Does not import it."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install 'triton>=3.0'"
    if device_type == "cpu" and not _interpreting(device_type):
        return f"it computes tensors on a GPU (or, slowly, on cpu with {INTERPRETER_VARIABLE}=1)"
    if device_type == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no GPU (torch.cuda.is_available() is false)"
        if os.environ.get(INTERPRETER_VARIABLE) == "1":
            return f"{INTERPRETER_VARIABLE}=1 keeps Triton from compiling for the GPU"
    return ""
