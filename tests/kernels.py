"""For tests of kernels: which are there, and variants of the recurrence."""

import itertools
import os

import pytest
import torch
from torch import nn

from fairseq_lrn.ops import build
from fairseq_lrn.ops.cpu import cpuinfo

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# Gates, activation and direction of the recurrence: all combinations; in Triton's interpreter,
# which is slow, every pair of values.
VARIANTS = list(itertools.product((3, 4), ("tanh", "identity"), (False, True)))
if INTERPRETED:
    VARIANTS = [
        (3, "tanh", False),
        (3, "identity", True),
        (4, "tanh", True),
        (4, "identity", False),
    ]

MISSING = build.unavailable_reason() if build.find() is None else None
needs_cpp = pytest.mark.skipif(MISSING is not None, reason=f"C++ kernels: {MISSING}")
CPP = pytest.param("cpp", marks=needs_cpp)


def why_no_int8():
    """Why products in 8 bits are not tested, or None. Does not load the kernels."""
    if MISSING is not None:
        return f"C++ kernels: {MISSING}"
    if INTERPRETED:
        return "Triton's interpreter has the place of the C++ kernels"
    if "avx2" not in cpuinfo("flags").split():
        return "the processor has no AVX2"
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return "ATEN_CPU_CAPABILITY excludes AVX2"
    return None


needs_rms_norm = pytest.mark.skipif(
    not hasattr(nn, "RMSNorm"), reason="this version of torch has no RMS norm"
)
needs_int8 = pytest.mark.skipif(why_no_int8() is not None, reason=str(why_no_int8()))
