"""The loss that is fused with the output layer against fairseq's."""

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

from fairseq_lrn.ops import cross_entropy, linear_cross_entropy
from kernels import CPP


def expected(x, weight, target, eps, ignore_index=None):
    log_probabilities = torch.log_softmax(x @ weight.t(), -1)
    return label_smoothed_nll_loss(log_probabilities, target, eps, ignore_index=ignore_index)


def operands(rows=23, width=8, symbols=50, dtype=torch.float64):
    torch.manual_seed(1)
    x = torch.randn(rows, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(symbols, width, dtype=dtype, requires_grad=True)
    return x, weight, torch.randint(symbols, (rows,))


@pytest.fixture(params=[CPP, "reference"], autouse=True)
def backend(request, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", request.param)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        monkeypatch.setattr(cross_entropy, "BLOCK_BYTES", 1)
        monkeypatch.setattr(cross_entropy, "MIN_BLOCK_ROWS", 5)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("ignore_index", [None, 3])
def test_loss_and_gradients(blocks, eps, ignore_index):
    x, weight, target = operands()
    target[[0, 4, 22]] = 3
    ours, our_nll, _ = linear_cross_entropy(x, weight, target, eps, ignore_index)
    theirs, their_nll = expected(x, weight, target, eps, ignore_index)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(our_nll, their_nll.detach())
    assert not our_nll.requires_grad
    for mine, other in zip(
        torch.autograd.grad(3.0 * ours, (x, weight)), torch.autograd.grad(3.0 * theirs, (x, weight))
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision(blocks, dtype, tolerance, autocast):
    x, weight, target = operands(dtype=torch.float32)
    exact = torch.autograd.grad(expected(x, weight, target, 0.1)[0], (x, weight))
    if not autocast:
        x, weight = (one.detach().to(dtype).requires_grad_() for one in (x, weight))
    with torch.autocast("cpu", dtype, enabled=autocast):
        loss, nll, _ = linear_cross_entropy(x, weight, target, 0.1)
    assert loss.dtype == nll.dtype == torch.float32
    for ours, one, theirs in zip(torch.autograd.grad(loss, (x, weight)), (x, weight), exact):
        assert ours.dtype == one.dtype
        error = (ours.float() - theirs).norm() / theirs.norm()
        assert error < tolerance


@pytest.mark.parametrize("ignore_index", [None, 3])
def test_rdrop(blocks, ignore_index):
    _, weight, target = operands()
    target[[0, 4, 22]] = 3
    x = torch.randn(2, *target.shape, weight.size(1), dtype=weight.dtype, requires_grad=True)
    ours, our_nll, divergence = linear_cross_entropy(x, weight, target, 0.1, ignore_index, 1.5)
    (first, first_nll), (second, second_nll) = (
        expected(one, weight, target, 0.1, ignore_index) for one in x
    )
    p, q = (torch.log_softmax(one @ weight.t(), -1)[target.ne(ignore_index or -1)] for one in x)
    kl = [
        torch.nn.functional.kl_div(*pair, log_target=True, reduction="sum")
        for pair in ((p, q), (q, p))
    ]
    theirs = first + second + 1.5 * sum(kl) / 2
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(our_nll, (first_nll + second_nll).detach())
    torch.testing.assert_close(divergence, sum(kl).detach() / 2)
    for mine, other in zip(
        torch.autograd.grad(3.0 * ours, (x, weight)), torch.autograd.grad(3.0 * theirs, (x, weight))
    ):
        torch.testing.assert_close(mine, other)


def test_a_probability_that_is_zero_in_single_precision():
    x = torch.tensor([[200.0], [1.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    target = torch.tensor([1, 1])
    ours, nll, _ = linear_cross_entropy(x, weight, target, 0.1)
    theirs, their_nll = expected(x, weight, target, 0.1)
    assert nll.item() > 400
    torch.testing.assert_close((ours, nll), (theirs, their_nll.detach()))


@pytest.mark.parametrize("symbols", [1, 5, 16, 33])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_any_width_and_type(symbols, dtype, backend, monkeypatch):
    """Rows that fill a vector register or not; compared with the formula in double precision."""
    torch.manual_seed(1)
    logits = (3 * torch.randn(2 * 7, symbols)).to(dtype)
    target = torch.randint(symbols, (7,))
    exact = logits.double().clone()
    with monkeypatch.context() as patch:
        patch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
        expected = cross_entropy.softmax_gradient_(exact, target, 0.8, 0.7, True, True)
    results = cross_entropy.softmax_gradient_(logits, target, 0.8, 0.7, True, True)
    tolerance = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 2e-6}.get(dtype, 1e-13)
    torch.testing.assert_close(logits.double(), exact, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(results, expected):
        assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        rounding = 1e-13 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(ours.double(), theirs, rtol=rounding, atol=rounding)


def test_targets_that_are_no_symbols():
    x, weight, target = operands()
    for wrong in (-1, 50):
        target[3] = wrong
        with pytest.raises((IndexError, RuntimeError), match="target must|out of bounds"):
            linear_cross_entropy(x, weight, target)


def test_logits_with_a_common_offset():
    logits = torch.randn(6, 40)
    target = torch.randint(40, (6,))
    for offset in (0.0, 1e3, 1e5):
        shifted = (logits + offset).double()  # rounded as single precision has it
        expected = torch.nn.functional.cross_entropy(shifted, target, reduction="none")
        nll, *_ = cross_entropy.softmax_gradient_(shifted.float(), target, 1.0, 0.0, False, True)
        torch.testing.assert_close(nll.double(), expected, rtol=0, atol=2e-6)


def test_no_second_derivatives():
    x, weight, target = operands()
    loss, _, _ = linear_cross_entropy(x, weight, target)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(loss, (x,), create_graph=True)


def test_nan_stays():
    x, weight, target = operands()
    x.data[4] = float("nan")
    loss, nll, _ = linear_cross_entropy(x, weight, target)
    assert loss.isnan() and nll.isnan()
    assert torch.autograd.grad(loss, (x,))[0][4].isnan().all()


def test_nothing_but_padding():
    x, weight, target = operands()
    loss, nll, _ = linear_cross_entropy(x, weight, torch.full_like(target, 1), 0.1, ignore_index=1)
    grads = torch.autograd.grad(loss, (x, weight))
    assert loss.item() == nll.item() == 0.0
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in grads)


def test_without_gradient_and_with_one_of_the_two():
    x, weight, target = operands()
    reference = expected(x, weight, target, 0.1)[0]
    with torch.no_grad():
        loss, _, _ = linear_cross_entropy(x, weight, target, 0.1)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, reference.detach())
    loss, _, _ = linear_cross_entropy(x.detach(), weight, target, 0.1)
    (ours,) = torch.autograd.grad(loss, (weight,))
    torch.testing.assert_close(ours, torch.autograd.grad(reference, (weight,))[0])


def test_only_one_backward_pass():
    x, weight, target = operands()
    loss, _, _ = linear_cross_entropy(x, weight, target)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        loss.backward()
