"""torch.func and forward-mode autograd: the operators work, or say what to use instead."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap

from fairseq_lrn import LRN
from fairseq_lrn.modules.cells import build_cell
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.ops import linear_cross_entropy, top_log_probs
from fairseq_lrn.ops.transforms import is_transforming

x = torch.randn(5, 3, 6)


@pytest.fixture(params=[{}, {"layer_norm": True, "bidirectional": True, "output_gate": True}])
def lrn(request):
    return LRN(6, 8, **request.param)


def loss(lrn, parameters, x, mask=None):
    return functional_call(lrn, parameters, (x, None, mask))[0].square().sum()


def detached(lrn):
    return {name: parameter.detach() for name, parameter in lrn.named_parameters()}


def test_gradients_for_each_sentence(lrn):
    mask = torch.zeros(5, 3, dtype=torch.bool)
    mask[3:, 1] = True
    expected = torch.autograd.grad(lrn(x, None, mask)[0].square().sum(), list(lrn.parameters()))
    assert not is_transforming()
    whole = grad(lambda parameters: loss(lrn, parameters, x, mask))(detached(lrn))
    one = grad(lambda parameters, *inputs: loss(lrn, parameters, *inputs))
    # T x B x C to B sequences T x C: each sentence is a single sequence.
    apart = vmap(one, (None, 1, 1))(detached(lrn), x, mask)
    for name, gradient in zip(whole, expected):
        torch.testing.assert_close(whole[name], gradient, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(apart[name].sum(0), gradient, rtol=1e-4, atol=1e-5)


def test_an_ensemble():
    copies = [LRN(6, 8) for _ in range(3)]
    parameters, _ = stack_module_state(copies)
    outputs = vmap(lambda one: functional_call(copies[0], one, (x,))[0])(parameters)
    torch.testing.assert_close(outputs, torch.stack([copy(x)[0] for copy in copies]))


def test_other_derivatives(lrn):
    def outputs(x):
        return lrn(x)[0].sum(0)

    short = x[:2]
    jacobian = jacrev(outputs)(short)
    torch.testing.assert_close(jacobian, torch.autograd.functional.jacobian(outputs, short))
    tangent = jvp(outputs, (short,), (short,))[1]
    torch.testing.assert_close(tangent, (jacobian * short).sum((2, 3, 4)), rtol=1e-4, atol=1e-5)
    assert hessian(lambda x: outputs(x).sum())(short).shape == (2, 3, 6, 2, 3, 6)


def test_a_backend_that_is_demanded(lrn, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "cpp")
    with pytest.raises(RuntimeError, match="FAIRSEQ_LRN_BACKEND=reference"):
        grad(lambda x: lrn(x)[0].sum())(x)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_other_cells(cell):
    module = build_cell(cell, 6, 8)
    state = torch.zeros(1, module.state_size)
    apart = vmap(lambda one: module(one.unsqueeze(1), state)[0][:, 0], 1, 1)(x)
    together = module(x, state.expand(3, -1))[0]
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-5)


def test_dropout_differs_or_not_as_vmap_is_told():
    dropout = Dropout(0.5)
    ones = torch.ones(2, 400)
    for randomness in ("different", "same"):
        first, second = vmap(dropout, randomness=randomness)(ones)
        assert torch.equal(first, second) == (randomness == "same")


def test_operators_without_gradients():
    logits = torch.randn(3, 4, 20)
    found = vmap(lambda rows: top_log_probs(rows, 5))(logits)
    for one, other in zip(found, top_log_probs(logits.flatten(0, 1), 5)):
        torch.testing.assert_close(one.flatten(0, 1), other)
    features, weight = torch.randn(4, 6), torch.randn(20, 6).requires_grad_()
    target = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="compute the loss from the logits"):
        grad(lambda rows: linear_cross_entropy(rows, weight, target)[0])(features)
    total = linear_cross_entropy(features, weight, target)[0]
    with pytest.raises(RuntimeError, match="compute the loss from the logits"):
        torch.autograd.grad(total, weight, torch.ones(2), is_grads_batched=True)
