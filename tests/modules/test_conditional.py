"""Conditional recurrences. test_parity.py compares them with numbers of the authors' code."""

import pytest
import torch

from fairseq_lrn.modules import CELLS, AlignedRecurrence, AttentiveRecurrence

T, B, C, M, H = 6, 5, 3, 8, 4


def assert_same(results, expected):
    for result, reference in zip(results, expected):
        torch.testing.assert_close(result, reference, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_aligned_recurrence_equals_stepping(
    name, norm, reverse, padding_mask, gradients, randomise
):
    recurrence = randomise(AlignedRecurrence(name, C, M, H, norm=norm))
    x, memory = torch.randn(T, B, C), torch.randn(T, B, M)
    state = torch.randn(B, recurrence.state_size)
    results = recurrence(x, memory, state, padding_mask, reverse)
    outputs = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        for cell, sequence in ((recurrence.lower, x), (recurrence.upper, memory)):
            state = cell.masked_step(cell.project(sequence[t]), state, padding_mask[t])
        outputs[t] = state[:, :H]
    expected = torch.stack(outputs), state
    assert_same(results, expected)
    assert_same(gradients(recurrence, *results), gradients(recurrence, *expected))


@pytest.mark.parametrize("name", CELLS)
def test_attentive_recurrence_equals_stepping(name, norm, padding_mask, randomise):
    recurrence = randomise(AttentiveRecurrence(name, C, M, H, num_heads=2, norm=norm))
    lower, upper = recurrence.lower, recurrence.upper
    x, memory = torch.randn(T, B, C), torch.randn(7, B, M)
    memory_mask = torch.zeros(B, 7, dtype=torch.bool)
    memory_mask[1, 4:] = memory_mask[2, :2] = True
    state = torch.randn(B, recurrence.state_size)
    results = recurrence(x, memory, state, padding_mask, memory_mask)
    steps = []
    for t in range(T):
        state = lower.masked_step(lower.project(x[t]), state, padding_mask[t])
        context, weights = recurrence.attention(state[:, :H], memory, memory_mask)
        state = upper.masked_step(upper.project(context), state, padding_mask[t])
        steps.append((state[:, :H], context, weights))
    output, contexts, weights = (torch.stack(tensors) for tensors in zip(*steps))
    assert_same(results, (output, state, contexts, weights))


def test_keys_may_be_computed_before():
    recurrence = AttentiveRecurrence("lrn", C, M, H, num_heads=2)
    x, memory, state = torch.randn(T, B, C), torch.randn(7, B, M), torch.randn(B, H)
    keys = recurrence.attention.keys(memory)
    assert_same(recurrence(x, memory, state, keys=keys), recurrence(x, memory, state))


@pytest.mark.parametrize("name", CELLS)
def test_an_empty_sequence(name, norm):
    aligned = AlignedRecurrence(name, C, M, H, norm=norm)
    x, memory = torch.randn(0, B, C), torch.randn(T, B, M)
    state = torch.randn(B, aligned.state_size)
    output, final = aligned(x, memory[:0], state)
    assert output.shape == (0, B, H) and torch.equal(final, state)
    attentive = AttentiveRecurrence(name, C, M, H, num_heads=2, norm=norm)
    output, final, contexts, weights = attentive(x, memory, state)
    assert output.shape == (0, B, H) and torch.equal(final, state)
    assert contexts.shape == (0, B, M) and weights.shape == (0, B, T, 2)


@pytest.mark.parametrize("name", CELLS)
def test_torchscript(name, padding_mask):
    x, memory = torch.randn(T, B, C), torch.randn(T, B, M)
    aligned = AlignedRecurrence(name, C, M, H)
    state = torch.randn(B, aligned.state_size)
    scripted = torch.jit.script(aligned)(x, memory, state, padding_mask, True)
    assert_same(scripted, aligned(x, memory, state, padding_mask, True))
    attentive = AttentiveRecurrence(name, C, M, H, num_heads=2)
    scripted = torch.jit.script(attentive)(x, memory, state, padding_mask)
    assert_same(scripted, attentive(x, memory, state, padding_mask))


@pytest.mark.parametrize("steps", [1, 3])
def test_forward_mode_derivatives_without_gradients(steps):
    """The fused attention of a step has none: under no_grad they would be wrong."""
    recurrence = AttentiveRecurrence("lrn", C, M, H, num_heads=2).eval()
    x, memory, state = torch.randn(steps, B, C), torch.randn(7, B, M), torch.randn(B, H)

    def loss(x, memory):
        return recurrence(x, memory, state)[0].sum()

    for tangents in ((torch.randn_like(x), torch.zeros_like(memory)), (x * 0, memory)):
        _, expected = torch.func.jvp(loss, (x, memory), tangents)
        with torch.no_grad():
            _, found = torch.func.jvp(loss, (x, memory), tangents)
        torch.testing.assert_close(found, expected)
