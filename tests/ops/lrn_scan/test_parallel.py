"""The recurrence in parallel over time: its result is the loop's, whatever Newton's method does.

test_triton_kernels.py runs this file again, in Triton's interpreter.
"""

import pytest
import torch

from fairseq_lrn.ops import dispatch, lrn_scan, parallel_counts
from fairseq_lrn.ops.lrn_scan import parallel
from fairseq_lrn.ops.lrn_scan.interface import _operator
from fairseq_lrn.ops.lrn_scan.reference import lrn_scan_reference
from fairseq_lrn.ops.transforms import CAN_TELL_COMPILING
from kernels import INTERPRETED, VARIANTS

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-6}
BATCH, HIDDEN = 2, 5
if INTERPRETED:
    dispatch.choose("cpu", "triton")  # its kernels compute the backend "parallel", too


def inputs(time, gates=3, spread=1.0, dtype=torch.float64, padding=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    mask = torch.rand(time, BATCH, generator=generator) < padding if padding else None
    kqv = spread * random(time, BATCH, gates * HIDDEN)
    return kqv, random(BATCH, HIDDEN), mask, random(gates * HIDDEN)


@pytest.fixture
def short_chunks(monkeypatch):
    for name in ("chunk_length", "gpu_chunk_length"):
        monkeypatch.setattr(parallel, name, lambda *size: 4 if INTERPRETED else 8)


@pytest.mark.parametrize("gates, activation, reverse", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32] if INTERPRETED else list(TOLERANCE))
def test_states_and_gradients_are_the_loop_s(short_chunks, dtype, gates, activation, reverse):
    """Over many chunks, the last of which is shorter."""
    kqv, h0, mask, bias = inputs(13 if INTERPRETED else 70, gates, dtype=dtype)
    leaves = [tensor.requires_grad_() for tensor in (kqv, h0, bias)]
    grad_h = torch.randn_like(kqv[:, :, :HIDDEN])
    before = parallel_counts()
    results = []
    for backend in ("reference", "parallel"):
        h = lrn_scan(
            kqv, h0, mask, bias=bias, activation=activation, reverse=reverse, backend=backend
        )
        results.append((h, *torch.autograd.grad(h, leaves, grad_h)))
    for expected, found in zip(*results):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=0, atol=scale * TOLERANCE[dtype])
    counts = parallel_counts()
    assert counts.lanes - before.lanes == BATCH * HIDDEN
    assert counts.step_by_step == before.step_by_step
    # More than one round, as the first guess is not exact, but no more than Newton's method needs.
    assert 1 < (counts.rounds - before.rounds) / (BATCH * HIDDEN) <= 6


@pytest.mark.parametrize("chunk", [1, 3, 16, 1000])
@pytest.mark.parametrize("time", [1, 2, 63, 300])
@pytest.mark.parametrize("warm_up", [0, 2, 40])
def test_any_chunk(time, chunk, warm_up):
    kqv, h0, mask, bias = inputs(time)
    arguments = kqv, h0, mask, bias, "tanh", True
    solution = parallel.solve(*arguments, chunk=chunk, warm_up=warm_up)
    torch.testing.assert_close(solution.states, lrn_scan_reference(*arguments), rtol=0, atol=1e-10)
    assert solution.rounds.min() >= 1
    assert solution.rounds.max() <= (1 if chunk >= time else parallel.MAX_ROUNDS)


@pytest.mark.parametrize("reverse", [False, True])
def test_lanes_that_are_not_exact_go_step_by_step(short_chunks, monkeypatch, reverse):
    """One round is too few: nothing but the steps themselves can be right then."""
    monkeypatch.setattr(parallel, "MAX_ROUNDS", 1)
    kqv, h0, mask, bias = inputs(13 if INTERPRETED else 30, spread=4.0)
    mask[:, 1] = True  # states that only pass through are exact, so this sentence is
    before = parallel_counts()
    options = {"bias": bias, "activation": "identity", "reverse": reverse}
    h = lrn_scan(kqv, h0, mask, backend="parallel", **options)
    torch.testing.assert_close(h, lrn_scan(kqv, h0, mask, backend="reference", **options))
    counts = parallel_counts()
    assert counts.lanes - before.lanes == 2 * HIDDEN
    assert 0 < counts.step_by_step - before.step_by_step <= 2 * HIDDEN


def test_newton_on_single_steps_does_not_converge_where_chunks_do():
    """With identity and a large spread, as numpy showed; the loop takes over, whatever happens."""
    kqv, h0, _, _ = inputs(400, spread=3.0, padding=0)
    arguments = kqv, h0, None, None, "identity", False
    exact = lrn_scan_reference(*arguments)
    steps, chunks = (parallel.solve(*arguments, chunk=chunk) for chunk in (1, 64))
    assert (steps.rounds == 0).any() and not (chunks.rounds == 0).any()
    for solution in (steps, chunks):
        torch.testing.assert_close(solution.states, exact, rtol=1e-8, atol=1e-8)


def test_nan_stays_in_its_lane(short_chunks):
    kqv, h0, mask, bias = inputs(13)
    kqv[7, 0, 1] = float("nan")
    mask[7, 0] = False
    found = lrn_scan(kqv, h0, mask, bias=bias, backend="parallel")
    expected = lrn_scan(kqv, h0, mask, bias=bias, backend="reference")
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert found[:, 0, 1].isnan().any() and found.isnan().sum() <= len(kqv)


def test_nan_costs_the_other_lanes_no_rounds(monkeypatch):
    kqv, h0, _, _ = inputs(64, padding=0)
    kqv[7, 0, 1] = float("nan")
    calls = []
    run = parallel._Steps.run
    monkeypatch.setattr(parallel._Steps, "run", lambda *given: calls.append(given) or run(*given))
    rounds = parallel.solve(kqv, h0, None, None, "tanh", False, chunk=8, warm_up=0).rounds
    assert rounds[0, 1] == 0 and (rounds.flatten() == 0).sum() == 1
    assert len(calls) == rounds.max() < parallel.MAX_ROUNDS


def one_lane():
    """k, q, v of one lane, zero at 192 steps, and ``T x 1 x 3`` of them."""
    kqv = torch.zeros(192, 1, 3)
    return (*kqv[:, 0].unbind(1), kqv)


def test_correction_that_overflows():
    """It makes the next guess infinite; that is not exact."""
    k, q, v, kqv = one_lane()
    k[:], q[:] = -50.0, 50.0
    k[80], q[80:128], v[80:128] = 0.0, -50.0, 100.0
    h0 = torch.full((1, 1), -200.0)
    expected = lrn_scan(kqv, h0, activation="identity", backend="reference")
    assert expected.isfinite().all()
    found = lrn_scan(kqv, h0, activation="identity", backend="parallel")
    torch.testing.assert_close(found, expected)


def test_slopes_that_overflow():
    """Their product is infinite where the gradient is zero; the gradient of the loop is finite."""
    k, q, v, kqv = one_lane()
    q[:] = -1e6
    v[80:128], k[81:128] = 100.0, -50.0
    leaves = [kqv.requires_grad_(), torch.zeros(1, 1).requires_grad_()]
    results = []
    for backend in ("reference", "parallel"):
        h = lrn_scan(*leaves, activation="identity", backend=backend)
        results.append(torch.autograd.grad(h[:70].sum(), leaves))
    assert all(grad.isfinite().all() for grad in results[0])
    for expected, found in zip(*results):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16] + [torch.float64] * (not INTERPRETED))
def test_both_directions(dtype, request):
    """With chunks of the usual length, except in the interpreter, which is slow."""
    if INTERPRETED:
        request.getfixturevalue("short_chunks")
    kqv, h0, mask, bias = inputs(13 if INTERPRETED else 70, dtype=dtype)
    both, leaf = torch.stack([h0, -h0]), kqv.requires_grad_()
    results = []
    for backend in ("reference", "parallel"):
        h = lrn_scan([leaf, leaf.flip(0)], both, mask, bias=[bias, bias], backend=backend)
        results.append((h, torch.autograd.grad(h, leaf, torch.ones_like(h))[0]))
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-12
    for expected, found in zip(*results):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_counts_in_inference_mode_and_on_other_default_devices(monkeypatch):
    monkeypatch.setattr(parallel, "_counts", {})
    kqv, h0, _, _ = inputs(5, dtype=torch.float32)
    with torch.inference_mode():
        lrn_scan(kqv, h0, backend="parallel")
    lrn_scan(kqv, h0, backend="parallel")
    with torch.device("meta"):
        assert parallel_counts().lanes == 2 * BATCH * HIDDEN


@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
@pytest.mark.parametrize("time", [0, 1, 2, 17, 64])
def test_linear_scan(time, chunk):
    slopes, shifts = torch.randn(2, time, 3, 2, dtype=torch.float64)
    x, expected = torch.zeros(3, 2, dtype=torch.float64), []
    for slope, shift in zip(slopes, shifts):
        x = slope * x + shift
        expected.append(x)
    expected = torch.stack(expected) if expected else shifts
    torch.testing.assert_close(parallel.linear_scan(slopes, shifts, chunk), expected)


def test_who_takes_it(monkeypatch):
    """On a CPU nobody by itself; on a GPU long sequences of few lanes."""
    loop, newton = torch.ops.fairseq_lrn.lrn_scan, torch.ops.fairseq_lrn.lrn_scan_parallel
    monkeypatch.delenv("FAIRSEQ_LRN_BACKEND", raising=False)
    monkeypatch.setattr(dispatch, "choose", lambda *_: "triton")
    long, wide = (16384, 1024), (512, 32 * 1024)
    assert _operator("cpu", None, *long) is loop
    assert _operator("cuda", None, *long) is newton
    assert _operator("cuda", "auto", *wide) is loop
    assert _operator("cuda", "triton", *long) is loop
    assert _operator("cpu", "parallel", 1, 1) is newton
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "parallel")
    assert _operator("cuda", None, *wide) is newton


@pytest.mark.skipif(not CAN_TELL_COMPILING, reason="torch before 2.3 makes several graphs")
def test_compiled_whole():
    kqv, h0, mask, bias = inputs(30, dtype=torch.float32)

    def scan(kqv):
        return lrn_scan(kqv, h0, mask, bias=bias, backend="parallel").sum()

    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    leaf = kqv.requires_grad_()
    (expected,) = torch.autograd.grad(scan(leaf), leaf)
    (found,) = torch.autograd.grad(compiled(leaf), leaf)
    torch.testing.assert_close(found, expected)
