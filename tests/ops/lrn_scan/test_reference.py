"""The reference: its written-out gradients, its rounding, and its directions."""

import pytest
import torch

from fairseq_lrn.ops import lrn_scan
from fairseq_lrn.ops.lrn_scan.reference import (
    lrn_scan_backward_reference,
    lrn_scan_reference,
    scan_each_direction,
    split_gates,
)


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("gates", [3, 4])
def test_written_out_gradients_of_the_reference(gates, activation):
    """lrn_scan_backward_reference against autograd through lrn_scan_reference."""
    for reverse in (False, True):
        kqv = torch.randn(5, 3, gates * 4, dtype=torch.float64).requires_grad_()
        h0 = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
        bias = torch.randn(gates * 4, dtype=torch.float64)
        mask = torch.rand(5, 3) < 0.3
        h = lrn_scan_reference(kqv, h0, mask, bias, activation, reverse)
        grad_h = torch.randn_like(h)
        expected = torch.autograd.grad(h, (kqv, h0), grad_h)
        result = lrn_scan_backward_reference(
            grad_h, kqv, h0, mask, bias, h.detach(), activation, reverse
        )
        for gradient, expected_gradient in zip(result, expected):
            torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("gates", [3, 4])
def test_the_reference_rounds_once_a_step(gates, activation):
    kqv, h0 = torch.randn(1, 64, gates * 16), torch.randn(64, 16)

    def scan(*tensors):
        return lrn_scan(*tensors, activation=activation, backend="reference")

    exact = scan(kqv.double(), h0.double()).float()
    with torch.no_grad():
        assert torch.equal(scan(kqv, h0), exact)
    # In training, every operation rounds, which is faster.
    assert not torch.equal(scan(kqv, h0), exact)


def test_each_direction():
    """The second direction runs backward; with reverse, the first does."""
    kqv, h0 = torch.randn(2, 4, 3, 15), torch.randn(2, 3, 5)
    for reverse in (False, True):
        h, states = scan_each_direction(lrn_scan_reference, kqv, h0, None, [], "tanh", reverse)
        first = lrn_scan_reference(kqv[0], h0[0], None, None, "tanh", reverse)
        second = lrn_scan_reference(kqv[1], h0[1], None, None, "tanh", not reverse)
        assert h is states and torch.equal(h, torch.cat([first, second], dim=-1))
    with pytest.raises(RuntimeError, match="h0"):
        scan_each_direction(lrn_scan_reference, kqv, h0[..., :4], None, [], "tanh", False)


def test_half_precision_is_rounded_at_the_end():
    kqv, h0 = torch.randn(1, 4, 3, 15, dtype=torch.bfloat16), torch.randn(1, 3, 5)
    h, states = scan_each_direction(lrn_scan_reference, kqv, h0, None, [], "tanh", False)
    expected = lrn_scan_reference(kqv[0].float(), h0[0], None, None, "tanh", False)
    assert torch.equal(states, expected) and torch.equal(h, expected.bfloat16())


@pytest.mark.parametrize("gates", [3, 4])
def test_split_gates(gates):
    kqv, bias = torch.randn(2, 3, gates * 5), torch.randn(gates * 5)
    k, q, v, o = split_gates(kqv, bias, 5)
    assert (o is None) == (gates == 3)
    parts = [k, q, v] + ([] if o is None else [o])
    assert torch.equal(torch.cat(parts, dim=-1), kqv + bias)
