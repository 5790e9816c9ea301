"""The fused kernels against the reference in float64: values and every gradient.

test_triton_kernels.py runs this file again, in Triton's interpreter.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_lrn.ops import lrn_scan
from kernels import INTERPRETED, VARIANTS, needs_cpp

# On a GPU, nearly every example is another kernel to compile.
FEW_EXAMPLES = bool(os.environ.get("FAIRSEQ_LRN_FEW_EXAMPLES"))
# Absolute error for sequences as long as those below. In half precision, inputs and results are
# rounded; the state is not.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 5e-6,
    torch.float16: 5e-3,
    torch.bfloat16: 4e-2,
}


def run(tensors, backend, grad_h, **options):
    """h, and the gradients of all kqv, h0 and bias."""
    kqv, h0, mask, bias = tensors
    leaves = [tensor.detach().requires_grad_() for tensor in (*kqv, h0, *bias)]
    kqv, h0, bias = leaves[: len(kqv)], leaves[len(kqv)], leaves[len(kqv) + 1 :]
    pair = len(kqv) == 2
    if not pair:
        kqv, h0, bias = kqv[0], h0[0], bias[0] if bias else None
    h = lrn_scan(kqv, h0, mask, bias=bias or None if pair else bias, backend=backend, **options)
    grads = torch.autograd.grad(h, leaves, grad_h.to(h), allow_unused=True, materialize_grads=True)
    return (h, *grads)


def converted(tensors, **target):
    kqv, h0, mask, bias = tensors
    kqv, bias = ([tensor.to(**target) for tensor in tensors] for tensors in (kqv, bias))
    return kqv, h0.to(**target), mask, bias


@st.composite
def scans(draw):
    """Sizes, number of gates and directions, mask, layout in memory, and options."""
    time = draw(st.integers(0, 3 if INTERPRETED else 9), label="T")
    batch = draw(st.integers(0, 2 if INTERPRETED else 4), label="B")
    hidden = draw(st.one_of(st.integers(1, 40), st.sampled_from([127, 128, 129, 260])), label="H")
    gates = draw(st.sampled_from([3, 4]), label="gates")
    directions = draw(st.sampled_from([1, 2]), label="directions")
    padding = draw(st.sampled_from([None, 0.3, 1.0]), label="padding")
    layout = draw(st.sampled_from(["plain", "batch first", "part", "every other"]), label="layout")
    dtype = draw(st.sampled_from(sorted(TOLERANCE, key=str)), label="dtype")
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30), label="seed"))

    def random(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    def laid_out(width):
        if layout == "batch first":
            return random(batch, time, width).transpose(0, 1)
        if layout == "part":
            return random(time, batch, width + 5)[:, :, 3 : 3 + width]
        if layout == "every other":
            return random(time, batch, 2 * width)[:, :, ::2]
        return random(time, batch, width)

    mask = None
    if padding is not None:
        mask = torch.rand(batch, time, generator=generator).lt(padding).t()
    has_bias = draw(st.booleans(), label="bias")
    tensors = (
        [laid_out(gates * hidden) for _ in range(directions)],
        random(directions, batch, hidden),
        mask,
        [random(gates * hidden) for _ in range(directions if has_bias else 0)],
    )
    options = {
        "activation": draw(st.sampled_from(["tanh", "identity"]), label="activation"),
        "reverse": draw(st.booleans(), label="reverse"),
    }
    return tensors, random(time, batch, directions * hidden), options


@settings(
    max_examples=25 if INTERPRETED or FEW_EXAMPLES else 150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(scan=scans())
def test_against_the_reference(fused, scan):
    backend, device = fused
    tensors, grad_h, options = scan
    dtype = grad_h.dtype
    exact = run(converted(tensors, dtype=torch.float64), "reference", grad_h, **options)
    on_device = converted(tensors, device=device)
    if tensors[2] is not None:
        on_device = (*on_device[:2], tensors[2].to(device), on_device[3])
    for result, expected in zip(run(on_device, backend, grad_h, **options), exact):
        assert result.dtype == dtype
        scale = max(1.0, expected.abs().max().item() if expected.numel() else 1.0)
        torch.testing.assert_close(
            result.double().cpu(), expected, rtol=0, atol=scale * TOLERANCE[dtype]
        )


@pytest.mark.parametrize("gates, activation, reverse", VARIANTS)
def test_gradcheck(fused, gates, activation, reverse):
    if INTERPRETED:
        pytest.skip("slow; the gradients are compared with those of the reference above")
    backend, device = fused
    options = {"dtype": torch.float64, "device": device}
    kqv = [torch.randn(3, 2, gates * 3, **options).requires_grad_() for _ in range(2)]
    h0 = torch.randn(2, 2, 3, **options).requires_grad_()
    bias = [torch.randn(gates * 3, **options).requires_grad_() for _ in range(2)]
    mask = torch.rand(3, 2, device=device) < 0.3

    def scan(*tensors):
        return lrn_scan(
            tensors[:2], tensors[2], mask, bias=tensors[3:], activation=activation,
            reverse=reverse, backend=backend,
        )  # fmt: skip

    assert torch.autograd.gradcheck(scan, (*kqv, h0, *bias))


def test_padding_has_no_influence(fused):
    backend, device = fused
    kqv = torch.randn(6, 3, 12, device=device)
    h0 = torch.randn(3, 4, device=device)
    mask = torch.rand(6, 3, device=device) < 0.4
    grad_h = torch.randn(6, 3, 4, device=device)
    results = []
    for filling in (0.0, float("nan")):
        filled = kqv.masked_fill(mask.unsqueeze(-1), filling)
        results.append(run(([filled], h0[None], mask, []), backend, grad_h))
    for clean, filled in zip(*results):
        assert torch.equal(clean, filled)


@pytest.mark.parametrize("value", [1e4, -1e4, float("inf"), -float("inf")])
def test_gates_far_out(fused, value):
    backend, device = fused
    for dtype in (torch.float32, torch.float64):
        kqv = torch.randn(4, 2, 3, 5, device=device, dtype=dtype)
        kqv[:, :, :2] = value
        kqv, h0 = kqv.flatten(2), torch.randn(2, 5, device=device, dtype=dtype)
        grad_h = torch.ones(4, 2, 5, device=device, dtype=dtype)
        result = run(([kqv], h0[None], None, []), backend, grad_h)
        expected = run(([kqv], h0[None], None, []), "reference", grad_h)
        for one, other in zip(result, expected):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1e16, -1e16, 1e20, -1e30, 1e38])
@pytest.mark.parametrize("gates", [3, 4])
def test_states_as_large_as_the_type_can_hold(fused, gates, size):
    """A closed gate keeps nothing of a large state, and its gradient is 0."""
    backend, device = fused
    kqv = torch.randn(5, 7, gates, 11)
    kqv[:, :, 2] = size * torch.rand(5, 7, 11)
    kqv[3, :, 2] = torch.randn(7, 11)  # small again
    tensors = [kqv.flatten(2)], torch.randn(1, 7, 11), None, []
    grad_h, identity = torch.ones(5, 7, 11), {"activation": "identity"}
    exact = run(converted(tensors, dtype=torch.float64), "reference", grad_h, **identity)
    ours = run(converted(tensors, device=device), backend, grad_h, **identity)
    for result, expected in zip(ours, exact):
        torch.testing.assert_close(result.cpu(), expected.float(), rtol=1e-4, atol=1e-4)


def test_nan_is_not_hidden(fused):
    backend, device = fused
    kqv = torch.zeros(3, 1, 6, device=device)
    kqv[1, 0, 0] = float("nan")
    h = lrn_scan(kqv, torch.zeros(1, 2, device=device), backend=backend)
    assert h[:, 0].isnan().tolist() == [[False, False], [True, False], [True, False]]


@needs_cpp
def test_small_states_keep_their_precision():
    """tanh and sigmoid next to 0, where a plain 1 - exp loses the digits."""
    if INTERPRETED:
        pytest.skip("Triton's tanh has an absolute precision only")
    kqv = torch.randn(50, 2, 48) * 1e-4
    kqv[:, :, 32:] *= 1e-4
    h = lrn_scan(kqv, torch.zeros(2, 16), backend="cpp")
    exact = lrn_scan(kqv.double(), torch.zeros(2, 16).double(), backend="reference")
    torch.testing.assert_close(h.double(), exact, rtol=1e-5, atol=1e-14)


def test_every_output_is_written(fused):
    """torch fills what it allocates with NaN here."""
    backend, device = fused
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        assert torch.empty(3, device=device).isnan().all()
        for mask in (None, torch.rand(5, 2, device=device) < 0.5):
            kqv = [torch.randn(5, 2, 4 * 19, device=device) for _ in range(2)]
            h0, grad_h = torch.randn(2, 2, 19, device=device), torch.randn(5, 2, 38, device=device)
            for dtype in (torch.float32, torch.bfloat16):
                tensors = converted((kqv, h0, mask, []), dtype=dtype)
                for result in run(tensors, backend, grad_h):
                    assert not result.isnan().any()
    finally:
        torch.use_deterministic_algorithms(False)
