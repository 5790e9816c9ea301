"""Long sequences and extreme inputs: finite where the exact result is."""

import pytest
import torch

from fairseq_lrn.ops import lrn_scan


@pytest.fixture(params=["reference", "fused"])
def kernel(request, fused):
    """Backend and device."""
    return fused if request.param == "fused" else ("reference", "cpu")


@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.parametrize("gates", [3, 4])
def test_identity_over_ten_thousand_steps(kernel, size, gates):
    """The forget gate closes as the state grows, so it does not grow without bounds."""
    kqv = size * torch.randn(10_000, 2, gates * 8, dtype=torch.float64)
    kqv[:, 1] = kqv[:, 1].abs()  # pushed one way for ever
    h0 = torch.randn(2, 8, dtype=torch.float64)
    exact = lrn_scan(kqv, h0, activation="identity", backend="reference")
    # k and v push up by v at most, and f = sigmoid(q - h) keeps next to nothing of h >> q.
    assert exact.isfinite().all() and exact.abs().max() < 20 * size + 20
    backend, device = kernel
    h = lrn_scan(
        *(one.to(device, torch.float32) for one in (kqv, h0)),
        activation="identity",
        backend=backend,
    )
    assert h.isfinite().all()
    # Where gates of such a size are half open, for a step, rounding shows.
    close = (h.cpu().double() - exact).abs() < 2e-3 * size
    assert close.double().mean() > (1.0 if size == 1.0 else 0.9999) - 1e-9


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_inputs(kernel, activation, dtype):
    """Finite where the exact result is, forward and backward."""
    values = torch.tensor([0.0, 1e-8, 1.0, -1.0, 60.0, -60.0, 1e4, -1e4], dtype=torch.float64)
    k, q, v = torch.cartesian_prod(values, values, values).t()
    kqv = torch.stack([k, q, v], 1).view(8, -1, 3).contiguous()
    h0 = torch.zeros(kqv.size(1), 1, dtype=torch.float64)
    results = {}
    for kind, (backend, device) in ((torch.float64, ("reference", "cpu")), (dtype, kernel)):
        one = kqv.detach().to(device, kind).requires_grad_()
        h = lrn_scan(one, h0.to(device, kind), activation=activation, backend=backend)
        h.sum().backward()
        results[kind] = h.detach().cpu(), one.grad.cpu()
    for exact, ours in zip(results[torch.float64], results[dtype]):
        representable = exact.abs() < torch.finfo(dtype).max / 2
        assert representable.any()
        assert ours[representable].isfinite().all()
