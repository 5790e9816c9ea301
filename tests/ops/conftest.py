"""Which fused kernels there are to test."""

import os

import pytest
import torch


def fused_kernels():
    """Pairs of backend and device. With Triton's interpreter on, that takes the place of C++."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        yield "triton", "cpu"
        return
    yield "cpp", "cpu"
    if torch.cuda.is_available():
        yield "triton", "cuda"


@pytest.fixture(params=fused_kernels(), ids="-".join)
def fused(request):
    """Backend and device of a fused kernel."""
    return request.param
