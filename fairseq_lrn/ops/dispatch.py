"""What can compute the recurrence, and the choice among it."""

import importlib.metadata
import importlib.util
import logging
import os
from typing import Dict, List, NamedTuple, Optional, Tuple

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


# What became of loading a backend: (device type it is registered for or None, reason).
_loaded: Dict[str, Tuple[Optional[str], str]] = {}
_choices: Dict[Tuple[str, Optional[str], Optional[str]], str] = {}


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
        choice = _choices[key] = _choose(*key)
    return choice


# torch.compile asks for the choice while it traces, instead of tracing how it is made. As
# torch.compiler.assume_constant_result does, which would import the whole compiler here.
choose._dynamo_marked_constant = True


def _choose(device_type: str, requested: Optional[str], variable: Optional[str]) -> str:
    source, name = ("backend", requested)
    if requested is None:
        source, name = BACKEND_VARIABLE, variable or "auto"
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"{source}={name!r} is unknown; choose from {('auto', *BACKENDS)}")
    if name == "reference":
        logger.info("lrn_scan on %s: reference, as %s says", device_type, source)
        return name
    if name == "auto":
        fused = FUSED.get(device_type)
        if fused is None:
            logger.warning(
                "lrn_scan on %s: reference, which is slow; there is no fused kernel for it",
                device_type,
            )
            return "reference"
        device, reason = _load(fused, device_type)
        if device == device_type:
            logger.info("lrn_scan on %s: %s, %s", device_type, fused, reason)
            return fused
        logger.warning(
            "lrn_scan on %s: reference, which is slow; %s is not available: %s",
            device_type,
            fused,
            reason,
        )
        return "reference"
    device, reason = _load(name, device_type)
    if device is None:
        raise RuntimeError(f"{source}={name!r} cannot be used: {reason}")
    if device != device_type:
        raise RuntimeError(
            f"{source}={name!r} cannot be used: it computes tensors on {device}, but these are "
            f"on {device_type}; leave the choice to 'auto', or move them"
        )
    logger.info("lrn_scan on %s: %s, as %s says; %s", device_type, name, source, reason)
    return name


def _describe(name: str) -> Backend:
    if name in _loaded:
        device, reason = _loaded[name]
        return Backend(name, "ready" if device else "unavailable", reason)
    if name == "cpp":
        try:
            found = extension.find()
        except OSError as error:
            return Backend(name, "unavailable", str(error))
        if found is not None:
            return Backend(name, "not loaded", f"built: {found}")
        if os.environ.get(extension.BUILD_VARIABLE, "1") == "0":
            return Backend(
                name, "unavailable", f"not built, and {extension.BUILD_VARIABLE}=0 forbids it"
            )
        return Backend(name, "not loaded", "not built yet; that happens on first use")
    reason = _no_triton("cuda")
    if reason:
        return Backend(name, "unavailable", reason)
    return Backend(name, "not loaded", "installed; compiled on first use")


def _load(name: str, device_type: str) -> Tuple[Optional[str], str]:
    if name not in _loaded:
        _loaded[name] = _load_cpp() if name == "cpp" else _load_triton(device_type)
    return _loaded[name]


def _load_cpp() -> Tuple[Optional[str], str]:
    if _loaded.get("triton", (None, ""))[0] == "cpu":
        return None, f"{INTERPRETER_VARIABLE}=1: Triton's interpreter has its place in this process"
    try:
        path = extension.find() or extension.build()
        torch.ops.load_library(str(path))
    except (extension.BuildError, OSError) as error:
        return None, str(error)
    return "cpu", f"C++ kernel, {torch.backends.cpu.get_cpu_capability()}, {path}"


def _load_triton(device_type: str) -> Tuple[Optional[str], str]:
    reason = _no_triton(device_type)
    if reason:
        return None, reason
    device = "cpu" if _interpreting(device_type) else "cuda"
    if device == "cpu" and _loaded.get("cpp", (None, ""))[0] == "cpu":
        return None, (
            "the C++ kernel already has its place in this process; start a new one with "
            f"{BACKEND_VARIABLE}=triton"
        )
    try:
        from fairseq_lrn.ops import triton_scan

        triton_scan.register(device)
    except Exception as error:  # whatever a Triton that does not fit torch or the driver raises
        return None, f"{type(error).__name__}: {error}"
    import triton

    how = "in Triton's interpreter" if device == "cpu" else torch.cuda.get_device_name()
    return device, f"Triton {triton.__version__}, {how}"


def _interpreting(device_type: str) -> bool:
    return device_type == "cpu" and os.environ.get(INTERPRETER_VARIABLE) == "1"


def _no_triton(device_type: str) -> str:
    """Why Triton cannot be used, or an empty string. Does not import it."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install 'triton>=3.0'"
    version = importlib.metadata.version("triton")
    if int(version.split(".")[0]) < 3:
        return f"Triton {version} is too old; pip install 'triton>=3.0'"
    if not _interpreting(device_type) and not torch.cuda.is_available():
        return "torch finds no GPU (torch.cuda.is_available() is false)"
    return ""
