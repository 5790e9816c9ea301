"""lrn_scan against the equations written down a second time, and at its edges."""

import numpy as np
import pytest
import torch

from fairseq_lrn.ops import lrn_scan


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def scan_by_hand(kqv, h0, mask, activation, reverse):
    """The equations in float64 numpy, one sentence and one feature vector at a time."""
    time, batch, _ = kqv.shape
    size = h0.shape[1]
    h = np.zeros((time, batch, size))
    for b in range(batch):
        state = h0[b]
        for t in reversed(range(time)) if reverse else range(time):
            if not mask[t, b]:
                k, q, v = kqv[t, b, :size], kqv[t, b, size : 2 * size], kqv[t, b, 2 * size :][:size]
                new = sigmoid(k + state) * v + sigmoid(q - state) * state
                new = np.tanh(new) if activation == "tanh" else new
                if kqv.shape[2] == 4 * size:
                    new = sigmoid(kqv[t, b, 3 * size :] - new) * new
                state = new
            h[t, b] = state
    return h


def inputs(time, batch, size, gates=3, dtype=torch.float64, padding=0.3):
    kqv = torch.randn(time, batch, gates * size, dtype=dtype)
    h0 = torch.randn(batch, size, dtype=dtype)
    return kqv, h0, torch.rand(time, batch) < padding


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("gates", [3, 4])
@pytest.mark.parametrize("time, batch, size", [(1, 1, 1), (5, 3, 7), (13, 4, 2)])
def test_equations(time, batch, size, gates, activation, reverse):
    kqv, h0, mask = inputs(time, batch, size, gates)
    h = lrn_scan(kqv, h0, mask, activation=activation, reverse=reverse)
    expected = scan_by_hand(kqv.numpy(), h0.numpy(), mask.numpy(), activation, reverse)
    np.testing.assert_allclose(h.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("gates", [3, 4])
def test_gradients(gates, activation, reverse):
    kqv, h0, mask = inputs(4, 3, 2, gates)
    assert torch.autograd.gradcheck(
        lambda kqv, h0: lrn_scan(kqv, h0, mask, activation=activation, reverse=reverse),
        (kqv.requires_grad_(), h0.requires_grad_()),
    )


def test_no_mask_is_a_mask_without_padding():
    kqv, h0, mask = inputs(6, 3, 4, padding=0.0)
    assert torch.equal(lrn_scan(kqv, h0), lrn_scan(kqv, h0, mask))


def test_reverse_is_the_flipped_sequence():
    kqv, h0, mask = inputs(6, 3, 4)
    expected = lrn_scan(kqv.flip(0), h0, mask.flip(0)).flip(0)
    assert torch.equal(lrn_scan(kqv, h0, mask, reverse=True), expected)


@pytest.mark.parametrize("time, batch", [(0, 3), (4, 0), (0, 0)])
def test_empty(time, batch):
    kqv, h0, mask = inputs(time, batch, 5)
    kqv.requires_grad_()
    h = lrn_scan(kqv, h0, mask)
    assert h.shape == (time, batch, 5)
    h.sum().backward()
    assert kqv.grad.shape == kqv.shape


def test_only_padding_carries_the_initial_state():
    kqv, h0, _ = inputs(4, 2, 3)
    h = lrn_scan(kqv, h0, torch.ones(4, 2, dtype=torch.bool))
    assert torch.equal(h, h0.expand(4, 2, 3))


def test_padding_has_no_influence():
    kqv, h0, mask = inputs(6, 3, 4)
    results = []
    for filling in (0.0, float("nan")):
        kqv_filled = kqv.masked_fill(mask.unsqueeze(-1), filling).requires_grad_()
        h = lrn_scan(kqv_filled, h0.requires_grad_(), mask)
        h0.grad = None
        (h**2).sum().backward()
        results.append((h, kqv_filled.grad, h0.grad))
    for clean, filled in zip(*results):
        assert torch.equal(clean, filled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_state_in_float32(dtype):
    kqv, h0, _ = inputs(200, 2, 8, dtype=dtype)
    h = lrn_scan(kqv, h0, activation="identity")
    exact = lrn_scan(kqv.double(), h0.double(), activation="identity")
    assert h.dtype == dtype
    # Only the rounding of the result is left, however long the sequence.
    torch.testing.assert_close(h, exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-3)
