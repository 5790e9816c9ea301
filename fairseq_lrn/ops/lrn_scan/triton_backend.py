"""The backend ``triton``: fused kernels for GPUs. Triton is imported only when they are loaded."""

import importlib.util
import os
from typing import Tuple

import torch

from fairseq_lrn.ops import dispatch

INTERPRETER_VARIABLE = "TRITON_INTERPRET"


def unavailable_reason(device_type: str) -> str:
    """See :func:`.dispatch.register`. Does not import Triton."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install 'triton>=3.0'"
    if device_type == "cpu" and not _is_interpreted(device_type):
        return f"it computes tensors on a GPU (or, slowly, on cpu with {INTERPRETER_VARIABLE}=1)"
    if device_type == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no GPU (torch.cuda.is_available() is false)"
        if os.environ.get(INTERPRETER_VARIABLE) == "1":
            return f"{INTERPRETER_VARIABLE}=1 keeps Triton from compiling for the GPU"
    return ""


def load(device_type: str) -> Tuple[bool, str]:
    """Compile the kernels and register them with torch; see :func:`.dispatch.register`."""
    try:
        import triton

        if int(triton.__version__.split(".")[0]) < 3:
            return False, f"Triton {triton.__version__} is too old; pip install 'triton>=3.0'"
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        from fairseq_lrn.ops.lrn_scan import triton_kernels

        # Triton compiles a kernel when it first runs, which fails without a C compiler. Use real
        # tensors, even while torch.compile traces with fake ones.
        with unset_fake_temporarily():
            triton_kernels.compile_kernels(device_type)
        triton_kernels.register_kernels(device_type)
    except Exception as error:  # a Triton that does not fit torch or the driver raises anything
        return False, f"{type(error).__name__}: {error}"
    interpreted = _is_interpreted(device_type)
    place = "in Triton's interpreter" if interpreted else torch.cuda.get_device_name()
    return True, f"Triton {triton.__version__}, {place}"


def describe() -> Tuple[str, str]:
    """State and reason, without importing Triton; see :func:`.dispatch.register`."""
    reason = unavailable_reason("cpu" if _is_interpreted("cpu") else "cuda")
    if reason:
        return "unavailable", reason
    return "not loaded", "installed; compiled on first use"


def _is_interpreted(device_type: str) -> bool:
    return device_type == "cpu" and os.environ.get(INTERPRETER_VARIABLE) == "1"


dispatch.register("triton", "cuda", unavailable_reason, load, describe)
