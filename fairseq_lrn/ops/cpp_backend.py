"""The backend ``cpp``: fused C++ kernels for CPUs."""

from typing import Tuple

import torch

from fairseq_lrn.ops import build, dispatch


def unavailable_reason(device_type: str) -> str:
    """See :func:`.dispatch.register`."""
    if device_type != "cpu":
        return f"it computes tensors on cpu, but these are on {device_type}"
    return ""


def load(device_type: str) -> Tuple[bool, str]:
    """Load the kernels, and build them if need be; see :func:`.dispatch.register`."""
    try:
        path = build.find() or build.build()
        torch.ops.load_library(str(path))
    except (build.BuildError, OSError) as error:
        # torch's own message leaves out what the dynamic loader reported.
        return False, f"{error} ({error.__cause__})" if error.__cause__ else str(error)
    return True, f"C++ kernel, {torch.backends.cpu.get_cpu_capability()}, {path}"


def describe() -> Tuple[str, str]:
    """State and reason, without loading; see :func:`.dispatch.register`."""
    found = build.find()
    if found is not None:
        return "not loaded", f"built: {found}"
    reason = build.unavailable_reason()
    if reason is not None:
        return "unavailable", reason
    return "not loaded", "not built yet; it is built on first use"


dispatch.register("cpp", "cpu", unavailable_reason, load, describe)
