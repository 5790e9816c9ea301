"""LRN is used like nn.GRU."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from fairseq_lrn.modules import LRN

SIZES = {"input_size": 5, "hidden_size": 7}
LENGTHS = [3, 6, 1, 4]


@pytest.mark.parametrize(
    "num_layers, batch_first, bidirectional, batched",
    list(itertools.product([1, 3], [False, True], [False, True], [False, True])),
)
def test_shapes_are_those_of_gru(num_layers, batch_first, bidirectional, batched):
    options = {
        "num_layers": num_layers,
        "batch_first": batch_first,
        "bidirectional": bidirectional,
    }
    x = torch.randn(4, 3, 5) if batched else torch.randn(4, 5)
    expected_output, expected_h_n = nn.GRU(**SIZES, **options)(x)
    lrn = LRN(**SIZES, **options)
    output, h_n = lrn(x)
    assert output.shape == expected_output.shape
    assert h_n.shape == expected_h_n.shape
    again, _ = lrn(x, torch.zeros_like(h_n))
    assert torch.equal(output, again)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("output_gate", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_parameters(bias, layer_norm, output_gate):
    lrn = LRN(**SIZES, bias=bias, layer_norm=layer_norm, output_gate=output_gate)
    width = 7 * (4 if output_gate else 3)
    expected = 5 * width + (width if layer_norm else 0) + (width if bias else 0)
    assert sum(p.numel() for p in lrn.parameters()) == expected
    lrn(torch.randn(4, 3, 5))[0].sum().backward()
    assert all(p.grad is not None for p in lrn.parameters())


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_h_n_is_the_last_state_of_each_direction(activation):
    lrn = LRN(**SIZES, num_layers=2, bidirectional=True, activation=activation)
    output, h_n = lrn(torch.randn(6, 3, 5))
    assert torch.equal(h_n[2], output[-1, :, :7])
    assert torch.equal(h_n[3], output[0, :, 7:])


def test_sequence_in_two_pieces():
    lrn = LRN(**SIZES, num_layers=2)
    x = torch.randn(6, 3, 5)
    whole, h_n = lrn(x)
    first, state = lrn(x[:2])
    second, state = lrn(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, h_n)


def padded(sequences, left):
    time = max(map(len, sequences))
    x = torch.full((time, len(sequences), 5), float("nan"))
    mask = torch.ones(time, len(sequences), dtype=torch.bool)
    for b, sequence in enumerate(sequences):
        place = slice(time - len(sequence), time) if left else slice(0, len(sequence))
        x[place, b] = sequence
        mask[place, b] = False
    return x, mask


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_padding_side_and_order_do_not_matter(left, bidirectional, layer_norm):
    sequences = [torch.randn(n, 5) for n in LENGTHS]
    lrn = LRN(**SIZES, num_layers=2, bidirectional=bidirectional, layer_norm=layer_norm)
    x, mask = padded(sequences, left)
    output, h_n = lrn(x, padding_mask=mask)
    output.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in lrn.parameters())
    for b, sequence in enumerate(sequences):
        expected_output, expected_h_n = lrn(sequence)
        torch.testing.assert_close(output[~mask[:, b], b], expected_output)
        torch.testing.assert_close(h_n[:, b], expected_h_n)


@pytest.mark.parametrize("in_order", [False, True])
def test_packed_sequence(in_order):
    sequences = [torch.randn(n, 5) for n in (sorted(LENGTHS)[::-1] if in_order else LENGTHS)]
    packed = pack_sequence(sequences, enforce_sorted=in_order)
    lrn = LRN(**SIZES, num_layers=2, bidirectional=True)
    h_0 = torch.randn(4, len(sequences), 7)
    output, h_n = lrn(packed, h_0)
    reference, _ = nn.GRU(**SIZES, num_layers=2, bidirectional=True)(packed, h_0)
    for ours, theirs in zip(output[1:], reference[1:]):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    unpacked, lengths = pad_packed_sequence(output)
    for b, sequence in enumerate(sequences):
        expected_output, expected_h_n = lrn(sequence, h_0[:, b])
        torch.testing.assert_close(unpacked[: lengths[b], b], expected_output)
        torch.testing.assert_close(h_n[:, b], expected_h_n)


def test_dropout_is_between_layers_only():
    x = torch.randn(6, 3, 5)
    one = LRN(**SIZES, dropout=0.5)
    assert torch.equal(one(x)[0], one.eval()(x)[0])
    two = LRN(**SIZES, num_layers=2, dropout=0.5)
    trained = two(x)[0]
    assert not torch.equal(trained, two.eval()(x)[0])


def test_empty_sequence():
    h_0 = torch.randn(1, 3, 7)
    output, h_n = LRN(**SIZES)(torch.zeros(0, 3, 5), h_0)
    assert output.shape == (0, 3, 7)
    assert torch.equal(h_n, h_0)
