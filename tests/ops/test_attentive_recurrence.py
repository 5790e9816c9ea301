"""The fused attentive recurrence against the loop, with all gradients."""

import pytest
import torch
from torch import nn

from fairseq_lrn.modules import AttentiveRecurrence
from fairseq_lrn.ops import attentive_recurrence as ops
from fairseq_lrn.ops import products
from kernels import needs_cpp

TIME, BATCH, LENGTH = 6, 3, 5


def build(cell="lrn", width=24, heads=2, inputs=20, **options):
    torch.manual_seed(1)
    module = AttentiveRecurrence(cell, inputs, width, width, heads, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def inputs(width=24, padded=True):
    torch.manual_seed(2)
    x = torch.randn(TIME, BATCH, 20, requires_grad=True)
    memory = torch.randn(LENGTH, BATCH, width, requires_grad=True)
    state = torch.randn(BATCH, width, requires_grad=True)
    padding, memory_padding = None, None
    if padded:
        padding = torch.zeros(TIME, BATCH, dtype=torch.bool)
        padding[-2:, 0] = padding[:1, 2] = True
        memory_padding = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
        memory_padding[1, -2:] = True
    return x, memory, state, padding, memory_padding


def results(module, arguments, used=(True, True, True, True)):
    """Output, state, contexts and weights, and the gradients of inputs and parameters."""
    outputs = module(*arguments)
    torch.manual_seed(3)
    terms = [(part * torch.randn(part.shape)).sum() for part in outputs]
    loss = sum(term for term, is_used in zip(terms, used) if is_used)
    leaves = [*arguments[:3], *module.parameters()]
    return [*outputs, *torch.autograd.grad(loss, leaves, allow_unused=True)]


def assert_same(found, expected):
    for ours, theirs in zip(found, expected):
        theirs = torch.zeros_like(ours) if theirs is None else theirs
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.fixture
def fused(monkeypatch):
    """The number of calls of the fused loop, as a list."""
    calls = []
    original = ops._AttentiveRecurrence.forward

    def forward(*arguments):
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(ops._AttentiveRecurrence, "forward", staticmethod(forward))
    return calls


@needs_cpp
@pytest.mark.parametrize("cell", ["lrn", "olrn"])
@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("width, heads, padded", [(24, 2, True), (21, 1, False)])
def test_agrees_with_the_loop(
    fused, monkeypatch, cell, norm, bias, activation, width, heads, padded
):
    module = build(cell, width, heads, norm=norm, bias=bias, activation=activation)
    arguments = inputs(width, padded)
    found = results(module, arguments)
    assert fused == [1]
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
    assert_same(found, results(module, arguments))
    assert fused == [1]


@needs_cpp
@pytest.mark.parametrize(
    "used", [(True, False, False, False), (False, True, False, False), (False, False, False, True)]
)
def test_some_outputs_are_unused(fused, monkeypatch, used):
    module, arguments = build(norm="layer"), inputs()
    found = results(module, arguments, used)
    assert fused
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
    assert_same(found, results(module, arguments, used))


@needs_cpp
def test_without_gradients_nothing_is_kept_for_them(fused, monkeypatch):
    module, arguments = build(norm="layer"), inputs()
    expected = module(*arguments)
    stacked, stack = [], torch.stack
    monkeypatch.setattr(torch, "stack", lambda tensors: stacked.append(1) or stack(tensors))
    with torch.no_grad():
        found = module(*arguments)
    assert fused == [1, 1] and len(stacked) == 3
    assert all(torch.equal(*pair) for pair in zip(found, expected))


@needs_cpp
def test_packed_and_unpacked_weights(fused, monkeypatch):
    module, arguments = build(norm="layer"), inputs()
    found = []
    for smallest in (1, 2**40):
        monkeypatch.setattr(products, "MIN_PACKED_MULTIPLICATIONS", smallest)
        found.append(results(module, arguments))
    assert_same(*found)
    assert fused == [1, 1]


@needs_cpp
def test_threads_change_nothing(fused):
    module = build("lrn", 256, 4, norm="layer")
    arguments, threads = inputs(256), torch.get_num_threads()
    found = []
    for number in (1, 3):
        torch.set_num_threads(number)
        found.append(results(module, arguments)[:4])
    torch.set_num_threads(threads)
    assert_same(*found)
    assert fused


@needs_cpp
def test_second_derivatives_are_refused(fused):
    module, arguments = build(), inputs()
    output = module(*arguments)[0]
    with pytest.raises(RuntimeError, match="set FAIRSEQ_LRN_BACKEND=reference"):
        torch.autograd.grad(output.sum(), arguments[0], create_graph=True)
    with pytest.raises(RuntimeError, match="set FAIRSEQ_LRN_BACKEND=reference"):
        torch.autograd.grad(
            output, arguments[0], torch.randn(2, *output.shape), is_grads_batched=True
        )


@pytest.mark.parametrize("case", ["cell", "float64", "autocast", "hook", "norm", "one step"])
def test_the_loop_runs_for_everything_else(fused, case):
    module, arguments = build("gru" if case == "cell" else "lrn"), inputs()
    if case == "float64":
        module.double()
        arguments = [None if one is None else one.double() for one in arguments[:3]] + [None, None]
    if case == "hook":
        module.upper.projection.register_forward_hook(lambda *_: None)
    if case == "norm":
        module = build(norm="layer")
        module.upper.projection.norms[0] = nn.Identity()
    if case == "one step":
        arguments = (arguments[0][:1], *arguments[1:3], None, None)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        results(module, arguments)
    assert fused == []
