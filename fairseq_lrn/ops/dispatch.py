"""The registry of backends that can compute the operators, and the choice among them.

A backend registers itself (:func:`register`); this module imports none of them.
"""

import functools
import logging
import os
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
REFERENCE = "reference"
PARALLEL = "parallel"
# When the recurrence is computed in parallel over time.
ALWAYS, BY_SHAPE, NEVER = "always", "by shape", "never"
BACKEND_VARIABLE = "FAIRSEQ_LRN_BACKEND"

logger = logging.getLogger(__name__)


class Backend(NamedTuple):
    """The state of one way to compute the recurrence.

    Attributes:
        name: ``"reference"``, ``"parallel"``, ``"cpp"`` or ``"triton"``.
        state: ``"ready"``, ``"not loaded"`` (it is loaded on first use) or ``"unavailable"``.
        reason: why the backend is in this state.
    """

    name: str
    state: str
    reason: str


class SettingError(Exception):
    """A setting that cannot be followed: an environment variable, or an argument *backend*."""


class UnknownSetting(SettingError, ValueError):
    """The setting has no such value."""


class UnavailableBackend(SettingError, RuntimeError):
    """The backend that the setting demands cannot compute here."""


class _Registration(NamedTuple):
    device_type: str
    unavailable_reason: Callable[[str], str]
    load: Callable[[str], Tuple[bool, str]]
    describe: Callable[[], Tuple[str, str]]


_registrations: Dict[str, _Registration] = {}
# For each backend and device type that were tried: whether loading worked, and the reason.
_loaded: Dict[Tuple[str, str], Tuple[bool, str]] = {}
_choices: Dict[Tuple[str, Optional[str], Optional[str]], str] = {}
_announced: Set[Tuple[str, str]] = set()
_lock = threading.RLock()


def register(
    name: str,
    device_type: str,
    unavailable_reason: Callable[[str], str],
    load: Callable[[str], Tuple[bool, str]],
    describe: Callable[[], Tuple[str, str]],
) -> None:
    """Add a backend.

    Args:
        name: its name in ``FAIRSEQ_LRN_BACKEND``.
        device_type: device type whose tensors it computes by default.
        unavailable_reason: why the backend cannot compute tensors on a device type, as far as that
            is known without loading it; an empty string otherwise.
        load: load the backend for a device type; returns whether that worked, and the reason.
        describe: state and reason (see :class:`Backend`), without loading anything.
    """
    _registrations[name] = _Registration(device_type, unavailable_reason, load, describe)


def backends() -> List[Backend]:
    """Every backend with its state and the reason. Loads and builds nothing."""
    return [
        Backend(REFERENCE, "ready", "plain torch operations, on any device"),
        *(_describe(name) for name in _registrations),
        Backend(PARALLEL, "ready", "the recurrence in parallel over time, on any device"),
    ]


def requested_name(requested: Optional[str] = None) -> str:
    """The backend that the argument *backend* of a call asks for, or the environment variable."""
    return requested or os.environ.get(BACKEND_VARIABLE) or "auto"


def constant_in_graphs(function: Function) -> Function:
    """Let ``torch.compile`` call *function* while it traces, instead of tracing into it.

    ``torch.compiler.assume_constant_result`` does the same, but imports the whole compiler.
    """

    # torch 2.2 makes the result a global variable of the module that it compiles, under the name
    # that the code has. A function of that module must not have this name.
    @functools.wraps(function)
    def result_in_graph(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    result_in_graph._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return cast(Function, result_in_graph)


@constant_in_graphs
def choose(device_type: str, requested: Optional[str] = None) -> str:
    """Name of the backend for tensors on *device_type*; loads the backend on first use.

    Args:
        device_type: as in ``torch.device.type``.
        requested: a backend's name, ``"auto"``, or None to follow ``FAIRSEQ_LRN_BACKEND``.
            ``"parallel"`` concerns the recurrence alone (:func:`runs_in_parallel`); for other
            operators it is ``"auto"``.

    Raises:
        UnknownSetting: no backend has that name.
        UnavailableBackend: the requested backend is unavailable; the message says why.
    """
    key = (device_type, requested, os.environ.get(BACKEND_VARIABLE))
    choice = _choices.get(key)
    if choice is None:
        with _lock:
            choice = _choices[key] = _choose(*key)
    return choice


def require_cpp(name: str) -> None:
    """Check that the C++ kernels compute on CPUs: an operator has no other implementation.

    Args:
        name: the operator.

    Raises:
        RuntimeError: they are unavailable, or another backend was requested.
    """
    if choose("cpu") != "cpp":
        raise RuntimeError(f"{name} needs the C++ kernels: see python -m fairseq_lrn.ops")


@constant_in_graphs
def runs_in_parallel(device_type: str, requested: Optional[str] = None) -> str:
    """Whether the recurrence is computed in parallel over time.

    Args:
        device_type, requested: see :func:`choose`.

    Returns:
        :data:`ALWAYS`, :data:`BY_SHAPE` or :data:`NEVER`.
    """
    name = requested_name(requested)
    if name == PARALLEL:
        choose(device_type, requested)  # the fused kernels of a GPU compute it, too
        return ALWAYS
    is_gpu = name == "auto" and device_type == "cuda" and choose(device_type, requested) == "triton"
    return BY_SHAPE if is_gpu else NEVER


def is_loaded(name: str, device_type: str) -> bool:
    """Whether the backend *name* is loaded for tensors on *device_type*."""
    return _loaded.get((name, device_type), (False, ""))[0]


def _choose(device_type: str, requested: Optional[str], variable: Optional[str]) -> str:
    source, name = ("backend", requested)
    if requested is None:
        source, name = BACKEND_VARIABLE, variable or "auto"
    names = ("auto", REFERENCE, PARALLEL, *_registrations)
    if name not in names:
        raise UnknownSetting(f"{source}={name!r} is unknown; choose from {names}")
    if name == REFERENCE:
        _announce(logging.INFO, device_type, name, f"requested by {source}")
        return name
    if name not in ("auto", PARALLEL):
        works, reason = _load(name, device_type)
        if not works:
            raise UnavailableBackend(
                f"{source}={name!r} cannot be used: {reason}; 'auto' takes what works"
            )
        _announce(logging.INFO, device_type, name, f"requested by {source}; {reason}")
        return name
    return _choose_fastest(device_type)


def _choose_fastest(device_type: str) -> str:
    fused = next((n for n, r in _registrations.items() if r.device_type == device_type), None)
    if fused is None:
        problem = "there is no fused kernel for this device"
    else:
        works, problem = _load(fused, device_type)
        if works:
            _announce(logging.INFO, device_type, fused, problem)
            return fused
        problem = f"{fused} is not available: {problem}"
    _announce(logging.WARNING, device_type, REFERENCE, f"which is slow; {problem}")
    return REFERENCE


def _announce(level: int, device_type: str, name: str, reason: str) -> None:
    if (device_type, name) not in _announced:
        _announced.add((device_type, name))
        logger.log(level, "kernels on %s: %s, %s", device_type, name, reason)


def _describe(name: str) -> Backend:
    tried = [result for (tried_name, _), result in _loaded.items() if tried_name == name]
    if tried:
        works, reason = max(tried)  # one device type on which it works is enough
        return Backend(name, "ready" if works else "unavailable", reason)
    return Backend(name, *_registrations[name].describe())


def _load(name: str, device_type: str) -> Tuple[bool, str]:
    key = (name, device_type)
    if key not in _loaded:
        backend = _registrations[name]
        reason = backend.unavailable_reason(device_type) or _occupied_reason(name, device_type)
        _loaded[key] = (False, reason) if reason else backend.load(device_type)
    return _loaded[key]


def _occupied_reason(name: str, device_type: str) -> str:
    """torch keeps one kernel of an operator for each device type, so only one backend is loaded."""
    occupant = next((other for other in _registrations if is_loaded(other, device_type)), None)
    if occupant is None:
        return ""
    return (
        f"this process already uses {occupant} on {device_type}; start a new process with "
        f"{BACKEND_VARIABLE}={name}"
    )
