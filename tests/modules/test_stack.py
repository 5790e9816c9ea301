"""A stack of recurrent layers."""

import pytest
import torch
from torch import nn

from fairseq_lrn.modules import LRNDecoderLayer, RecurrentLayer, RecurrentStack

T, B, C, H, S, W = 6, 5, 8, 4, 7, 3


def recurrent_layers(bidirectional=False, count=3):
    width = 2 * H if bidirectional else H
    return [
        RecurrentLayer("lrn", C if index == 0 else width, H, bidirectional=bidirectional)
        for index in range(count)
    ]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_forward_runs_layer_after_layer(bidirectional, padding_mask):
    layers = recurrent_layers(bidirectional)
    x = torch.randn(T, B, C)
    states = [torch.randn(1 + bidirectional, B, H) for _ in layers]
    output, final_states, outputs = RecurrentStack(layers)(x, states, padding_mask, True)
    for index, (layer, state) in enumerate(zip(layers, states)):
        x, final = layer(x, state, padding_mask)
        assert torch.equal(outputs[index], x) and torch.equal(final_states[index], final)
    assert torch.equal(output, x)


def test_states_are_zeros_by_default():
    stack, x = RecurrentStack(recurrent_layers()), torch.randn(T, B, C)
    output, final_states, outputs = stack(x)
    expected, expected_states, _ = stack(x, [torch.zeros(1, B, H)] * 3)
    assert torch.equal(output, expected) and outputs == []
    assert all(torch.equal(*pair) for pair in zip(final_states, expected_states))


def test_dropout_between_layers_only():
    """The probability is 1: the second layer reads zeros, but the outputs are complete."""
    layers = recurrent_layers(count=2)
    stack, x = RecurrentStack(layers, dropout=1.0), torch.randn(T, B, C)
    output, _, outputs = stack(x, return_outputs=True)
    first, _ = layers[0](x, torch.zeros(1, B, H))
    second, _ = layers[1](torch.zeros_like(first), torch.zeros(1, B, H))
    assert torch.equal(outputs[0], first) and torch.equal(output, second)
    in_evaluation, _, _ = stack.eval()(x)
    expected, _ = layers[1](first, torch.zeros(1, B, H))
    assert torch.equal(in_evaluation, expected)


def decoder_stack(attends):
    """Layers with or without attention, with different weights of the attention."""
    return RecurrentStack(
        LRNDecoderLayer(C, H, "lrn", encoder_embed_dim=C if value else None, attention_heads=2)
        for value in attends
    ).eval()


ATTENDS = [(True, True), (False, True, True), (True, False), (False, False)]


@pytest.fixture
def source():
    """A source and its padding mask."""
    mask = torch.zeros(B, S, dtype=torch.bool)
    mask[1, 4:] = mask[2, :2] = True
    return torch.randn(S, B, C), mask


@pytest.mark.parametrize("attends", ATTENDS)
def test_attend_runs_layer_after_layer(attends, source, padding_mask):
    stack, (memory, memory_mask) = decoder_stack(attends), source
    x, states = torch.randn(T, B, C), [torch.randn(1, B, H) for _ in stack]
    output, final_states, attn = stack.attend(
        x, states, stack.project_memory(memory), memory_mask, padding_mask, need_attn=True
    )
    expected_attn = None
    for layer, state, final in zip(stack, states, final_states):
        if layer.attends:
            keys, values = layer.project_memory(memory)
            x, state, expected_attn = layer(
                x, state, padding_mask, keys, values, memory_mask, need_attn=True
            )
        else:
            x, state, _ = layer(x, state, padding_mask)
        assert torch.equal(final, state)
    assert torch.equal(output, x)
    if any(attends):
        assert attn.shape == (B, T, S) and torch.equal(attn, expected_attn)
    else:
        assert attn is None


def test_attention_weights_on_request_only(source):
    stack, (memory, memory_mask) = decoder_stack((True, True)), source
    states = [torch.zeros(1, B, H) for _ in stack]
    attn = stack.attend(torch.randn(T, B, C), states, stack.project_memory(memory), memory_mask)[2]
    assert attn is None


@pytest.mark.parametrize("attends", ATTENDS)
def test_stepping_equals_attend(attends, source):
    """Several hypotheses share the memory of their sentence."""
    stack, (memory, memory_mask) = decoder_stack(attends), source
    projected = stack.project_memory(memory)
    x = torch.randn(W, T, B, C)  # a sequence for each hypothesis
    states = [torch.randn(W, B, H) for _ in stack]
    expected = [
        stack.attend(x[w], [state[w : w + 1] for state in states], projected, memory_mask)
        for w in range(W)
    ]
    step_states = [state.view(W * B, H) for state in states]  # W x B x H to W*B x H
    for t in range(T):
        output, step_states = stack.step(x[:, t], step_states, projected, memory_mask)
        for w in range(W):
            torch.testing.assert_close(output[w], expected[w][0][t], rtol=0, atol=1e-5)
    for index, state in enumerate(step_states):
        for w in range(W):
            final = expected[w][1][index][0]
            torch.testing.assert_close(state.view(W, B, H)[w], final, rtol=0, atol=1e-5)


def test_memory_is_projected_for_attending_layers_only(source):
    stack, (memory, _) = decoder_stack((True, False, True)), source
    expected = [*stack[0].project_memory(memory), *stack[2].project_memory(memory)]
    projected = stack.project_memory(memory)
    assert len(projected) == 4
    assert all(torch.equal(*pair) for pair in zip(projected, expected))


def test_parameters_are_named_by_the_index_of_the_layer():
    """Checkpoints have these names."""
    model = nn.Module()
    model.layers = RecurrentStack(recurrent_layers(count=2))
    assert list(model.state_dict()) == [
        f"layers.{index}.cells.0.projection.{name}"
        for index in range(2)
        for name in ("weight", "bias")
    ]


def test_torchscript(padding_mask):
    stack, x = RecurrentStack(recurrent_layers(bidirectional=True)), torch.randn(T, B, C)
    output, final_states, _ = torch.jit.script(stack)(x, None, padding_mask)
    expected, expected_states, _ = stack(x, None, padding_mask)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(final_states, expected_states)
