"""Layers of the paper's translation model; see also tests/models/translation/test_parity.py."""

import pytest
import torch

from fairseq_lrn.modules.rnmt_layers import (
    AlignedDecoderLayer,
    AttentiveDecoderLayer,
    ContextAwareEncoderLayer,
    OutputBranch,
    PlainDecoderLayer,
    RNMTEncoderLayer,
)

T, B, C, H, M, S, Z, D = 6, 5, 8, 4, 6, 7, 10, 8
CELLS = ["lrn", "lstm"]


def test_output_branch_of_equal_width(randomise):
    branch = randomise(OutputBranch(H, C, C, dropout=0.0, layer_norm=True))
    h, x = torch.randn(T, B, H), torch.randn(T, B, C)
    torch.testing.assert_close(branch(h, x), branch.layer_norm(x + branch.out_proj(h)))


def test_output_branch_of_another_width(randomise):
    """It has no residual connection, and dropout only acts in front of one."""
    branch = randomise(OutputBranch(H, C, C + 1, dropout=0.5, layer_norm=False))
    h, x = torch.randn(T, B, H), torch.randn(T, B, C)
    torch.testing.assert_close(branch(h, x), branch.out_proj(h))


def test_dropout_of_the_output_branch():
    branch = OutputBranch(H, C, C, dropout=0.999999, layer_norm=False)
    x = torch.randn(T, B, C)
    torch.testing.assert_close(branch(torch.randn(T, B, H), x), x)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_encoder_layer(cell, bidirectional, padding_mask):
    layer = RNMTEncoderLayer(C, H, D, bidirectional=bidirectional, cell=cell)
    x = torch.randn(T, B, C)
    output, final = layer(x, layer.initial_state(x), padding_mask)
    h, expected = layer.recurrence(x, layer.initial_state(x), padding_mask)
    assert layer.final_size == h.size(-1) == H * (1 + bidirectional)
    assert torch.equal(final, expected) and torch.equal(output, layer.branch(h, x))


@pytest.mark.parametrize("cell", CELLS)
def test_context_aware_encoder_layer(cell, padding_mask):
    """The backward recurrence reads the input and the output of the forward recurrence."""
    layer = ContextAwareEncoderLayer(C, H, D, cell=cell)
    x = torch.randn(T, B, C)
    state = torch.randn_like(layer.initial_state(x))
    output, final = layer(x, state, padding_mask)
    memory, _ = layer.forward_recurrence(x, state, padding_mask)
    h, expected = layer.backward_recurrence(x, memory, state[0], padding_mask, reverse=True)
    assert layer.final_size == H and torch.equal(final[0], expected)
    assert torch.equal(output, layer.branch(h, x))


def decoder_layer(kind, cell):
    options = {"attention_heads": 2} if kind is AttentiveDecoderLayer else {}
    return kind(C, M, H, Z, D, dropout=0.0, layer_norm=True, cell=cell, norm="layer", **options)


each_kind = pytest.mark.parametrize(
    "kind", [AttentiveDecoderLayer, AlignedDecoderLayer, PlainDecoderLayer]
)
each_cell = pytest.mark.parametrize("cell", CELLS)


@each_kind
@each_cell
def test_decoder_layer(kind, cell, padding_mask):
    layer = decoder_layer(kind, cell)
    x, context, memory = torch.randn(T, B, C), torch.randn(T, B, M), torch.randn(S, B, M)
    state = layer.initial_state(torch.randn(B, Z))
    keys = layer.keys(memory)
    output, contexts, final, weights = layer(x, context, state, memory, None, keys, padding_mask)
    assert output.shape == (T, B, D) and final.shape == state.shape
    if kind is AttentiveDecoderLayer:
        # It has its own contexts and does not read those of the layer below.
        assert contexts.shape == (T, B, M) and weights.shape == (T, B, S, 2)
        assert keys.shape == (B, S, M)
        without = layer(x, None, state, memory, None, None, padding_mask)
        torch.testing.assert_close(without, (output, contexts, final, weights))
    else:
        assert contexts is context and weights is None and keys is None
        with pytest.raises(AssertionError):
            layer(x, None, state, memory, None, None, padding_mask)


@each_kind
@each_cell
def test_decoder_layer_in_two_pieces(kind, cell):
    layer = decoder_layer(kind, cell)
    x, context, memory = torch.randn(T, B, C), torch.randn(T, B, M), torch.randn(S, B, M)
    state = layer.initial_state(torch.randn(B, Z))
    output, _, final, _ = layer(x, context, state, memory, None, None, None)
    first, _, state, _ = layer(x[:2], context[:2], state, memory, None, None, None)
    second, _, state, _ = layer(x[2:], context[2:], state, memory, None, None, None)
    torch.testing.assert_close(torch.cat([first, second]), output, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, final, rtol=0, atol=1e-5)


def test_plain_decoder_layer_reads_input_and_context():
    layer = decoder_layer(PlainDecoderLayer, "lrn")
    x, context, memory = torch.randn(T, B, C), torch.randn(T, B, M), torch.randn(S, B, M)
    state = torch.randn(B, H)
    output, *_ = layer(x, context, state, memory, None, None, None)
    h, _ = layer.recurrence(torch.cat([x, context], dim=-1), state.unsqueeze(0))
    torch.testing.assert_close(output, layer.branch(h, x))
