"""Data types of matrix products and of running sums."""

import pytest
import torch

from fairseq_lrn.ops.precision import is_half, matmul_dtype, state_dtype


def test_matrix_products_follow_autocast():
    x = torch.randn(2, 2)
    assert matmul_dtype(x) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert matmul_dtype(x) == torch.bfloat16 == torch.mm(x, x).dtype
    assert matmul_dtype(x.double()) == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_state_is_never_half(dtype):
    x = torch.zeros(1, dtype=dtype)
    assert is_half(x) == (dtype.itemsize == 2)
    assert state_dtype(x) == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_types_that_autocast_leaves():
    with torch.autocast("cpu", torch.bfloat16):
        assert matmul_dtype(torch.ones(1)) == torch.bfloat16
        assert matmul_dtype(torch.ones(1, dtype=torch.float64)) == torch.float64
    assert matmul_dtype(torch.ones(1, device="meta")) == torch.float32
