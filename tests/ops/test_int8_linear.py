"""Products in 8 bits against the same integers in float64."""

import pytest
import torch
import torch.nn.functional as F

from fairseq_lrn.ops import int8_linear, quantised
from kernels import needs_cpp, needs_int8, why_no_int8


def in_integers(x):
    """Whole numbers from -127 to 127 and the scale of each row, in the arithmetic of float32."""
    largest = x.float().abs().amax(1, keepdim=True)
    inverse = torch.full_like(largest, 127.0) / largest  # 127 / largest would be rounded twice
    return (x.float() * inverse).round().double(), (largest / 127).double()


def unpacked(panels, out, size):
    """The integers of a weight, and its scales."""
    tiles, tail = panels[:, :-128], panels[:, -128:].contiguous()
    scales, sums = tail[:, :64].contiguous().view(torch.float32), tail.view(torch.int32)[:, 16:]
    integers = tiles.view(len(panels), -1, 16, 4).transpose(1, 2).flatten(0, 1).flatten(1)
    assert not integers[out:].any() and not integers[:, size:].any()
    assert torch.equal(integers.sum(1), sums.flatten())
    return integers[:out, :size].double(), scales.view(-1, 1)[:out].double()


@pytest.mark.parametrize("out, size", [(16, 64), (8, 20), (50, 33)])
def test_weights_are_rounded_to_127_steps(out, size):
    weight = torch.randn(out, size) * torch.rand(out, 1).mul(4).exp()
    weight[3] = 0.0
    integers, scales = unpacked(quantised(weight), out, size)
    assert (integers.abs().amax(1)[weight.any(1)] == 127).all()
    error = (integers * scales - weight).abs()
    assert (error <= 0.5001 * weight.abs().amax(1, keepdim=True) / 127).all()


# Rows and outputs: fewer than a tile has, just as many, and one more; more than one thread takes.
@needs_int8
@pytest.mark.parametrize("rows", [1, 5, 15, 16, 17, 31, 32, 33, 48, 100, 700])
@pytest.mark.parametrize("out, size", [(16, 64), (8, 20), (50, 33), (1536, 512), (33, 192)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
def test_agrees_with_integers(rows, out, size, dtype, has_bias):
    # Rows of different sizes, so that each needs its own scale.
    x = (torch.randn(rows, size) * torch.rand(rows, 1).mul(4).exp()).to(dtype)
    weight = torch.randn(out, size) * torch.rand(out, 1).mul(4).exp()
    bias = torch.randn(out) if has_bias else None
    panels = quantised(weight)
    y = int8_linear(x, panels, out, bias)
    (left, left_scale), (right, right_scale) = in_integers(x), unpacked(panels, out, size)
    expected = left @ right.t() * left_scale * right_scale.t()
    if has_bias:
        expected += bias.double()
    assert y.dtype == dtype and y.shape == expected.shape
    rtol = 1e-6 if dtype == torch.float32 else 1 / 256
    torch.testing.assert_close(y.double(), expected, rtol=rtol, atol=1e-5)


@needs_int8
def test_is_near_the_product():
    x, weight, bias = torch.randn(40, 512), torch.randn(96, 512), torch.randn(96)
    exact = F.linear(x, weight, bias)
    error = int8_linear(x, quantised(weight), 96, bias) - exact
    assert 0 < error.norm() < 0.02 * exact.norm()


@needs_int8
def test_shapes():
    weight = torch.randn(24, 40)
    panels = quantised(weight)
    x = torch.randn(3, 2, 40)
    y = int8_linear(x, panels, 24)
    assert y.shape == (3, 2, 24)
    torch.testing.assert_close(y[1, 1], int8_linear(x[1, 1], panels, 24))
    torch.testing.assert_close(y[:, 1], int8_linear(x[:, 1], panels, 24))
    assert int8_linear(x[:0], panels, 24).shape == (0, 2, 24)


@needs_int8
def test_rows_that_are_zero_or_not_finite():
    weight = torch.randn(20, 70)
    weight[3] = 0.0
    x = torch.randn(6, 70)
    x[1], x[2, 69], x[3, 0], x[4, 5] = 1e-38, torch.nan, torch.inf, -torch.inf
    y = int8_linear(x, quantised(weight), 20, torch.full((20,), 0.5))
    assert (y[1] == 0.5).all() and y[2:5].isnan().all()
    x[1] = 0.0
    assert torch.equal(int8_linear(x[1], quantised(weight), 20), torch.zeros(20))
    assert y[[0, 5]].isfinite().all() and (y[[0, 5], 3] == 0.5).all()


@needs_int8
def test_number_of_threads_changes_nothing():
    x, panels = torch.randn(130, 256), quantised(torch.randn(2000, 256))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(int8_linear(x, panels, 2000))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


@needs_int8
@torch.no_grad()
def test_tiles_are_shared_with_onednn():
    """A thread has one set of tile registers, and one description of their shapes."""
    x, weight = torch.randn(70, 512), torch.randn(640, 512)
    panels, half = quantised(weight), weight.bfloat16()
    ours, theirs = int8_linear(x, panels, 640), F.linear(x.bfloat16(), half)
    for _ in range(20):
        assert torch.equal(F.linear(x.bfloat16(), half), theirs)
        assert torch.equal(int8_linear(x, panels, 640), ours)


@needs_int8
@pytest.mark.parametrize(
    "x, out, bias, message",
    [
        (torch.randn(2, 41), 24, None, "must come from a weight 24 x 41"),
        (torch.randn(2, 40), 16, None, "must come from a weight 16 x 40"),
        (torch.randn(2, 40), 24, torch.zeros(16), "bias must have 24 elements of float32"),
        (torch.randn(2, 40).double(), 24, None, "x must be N x C of float32 or bfloat16"),
        (torch.randn(2, 0), 24, None, "with C from 1 to 100000"),
    ],
)
def test_wrong_input(x, out, bias, message):
    # 41 inputs would fill up to as many as 40 do; so would 17 to 24 outputs.
    panels = quantised(torch.randn(24, 104) if x.size(1) == 41 else torch.randn(24, 40))
    with pytest.raises(RuntimeError, match=message):
        int8_linear(x, panels, out, bias)


def test_weights_that_are_not_finite():
    weight = torch.randn(4, 5)
    weight[1, 2] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        quantised(weight)


@needs_cpp
@pytest.mark.skipif(why_no_int8() is None, reason="there are 8-bit products here")
def test_without_avx2():
    with pytest.raises(RuntimeError, match="needs a processor with AVX2"):
        int8_linear(torch.randn(2, 40), quantised(torch.randn(24, 40)), 24)
