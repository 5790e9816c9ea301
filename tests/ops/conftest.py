"""Which fused kernels there are to test."""

import os

import pytest
import torch

from kernels import needs_cpp


def fused_kernels():
    """Pairs of backend and device. With Triton's interpreter on, that takes the place of C++."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        yield pytest.param(("triton", "cpu"), id="triton-cpu")
        return
    yield pytest.param(("parallel", "cpu"), id="parallel-cpu")
    yield pytest.param(("cpp", "cpu"), id="cpp-cpu", marks=needs_cpp)
    if torch.cuda.is_available():
        yield pytest.param(("triton", "cuda"), id="triton-cuda")
        yield pytest.param(("parallel", "cuda"), id="parallel-cuda")


@pytest.fixture(params=fused_kernels())
def fused(request):
    """Backend and device of a fused kernel."""
    return request.param
