"""LRN has the interface of nn.GRU."""

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
def test_shapes_equal_those_of_gru(num_layers, batch_first, bidirectional, batched):
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
    with_zeros, _ = lrn(x, torch.zeros_like(h_n))
    assert torch.equal(output, with_zeros)


def test_batch_first_and_single_sequences():
    """The same numbers in another layout."""
    lrn = LRN(**SIZES, num_layers=2, bidirectional=True)
    batch_first = LRN(**SIZES, num_layers=2, bidirectional=True, batch_first=True)
    batch_first.load_state_dict(lrn.state_dict())
    x, h_0 = torch.randn(6, 3, 5), torch.randn(4, 3, 7)
    mask = torch.zeros(6, 3, dtype=torch.bool)
    mask[4:, 1] = True
    output, h_n = lrn(x, h_0, mask)
    transposed, h_n_transposed = batch_first(x.transpose(0, 1), h_0, mask.t())
    torch.testing.assert_close(transposed.transpose(0, 1), output)
    torch.testing.assert_close(h_n_transposed, h_n)
    single, h_n_single = lrn(x[:, 1], h_0[:, 1], mask[:, 1])
    torch.testing.assert_close(single, output[:, 1])
    torch.testing.assert_close(h_n_single, h_n[:, 1])


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("output_gate", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_number_of_parameters(bias, layer_norm, output_gate):
    lrn = LRN(**SIZES, bias=bias, layer_norm=layer_norm, output_gate=output_gate)
    width = 7 * (4 if output_gate else 3)
    expected = 5 * width + (width if layer_norm else 0) + (width if bias else 0)
    assert sum(p.numel() for p in lrn.parameters()) == expected
    lrn(torch.randn(4, 3, 5))[0].sum().backward()
    assert all(p.grad is not None for p in lrn.parameters())


@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_h_n_is_the_final_state_of_each_direction(activation):
    lrn = LRN(**SIZES, num_layers=2, bidirectional=True, activation=activation)
    output, h_n = lrn(torch.randn(6, 3, 5))
    assert torch.equal(h_n[2], output[-1, :, :7])
    assert torch.equal(h_n[3], output[0, :, 7:])


def test_a_sequence_in_two_pieces():
    lrn = LRN(**SIZES, num_layers=2)
    x = torch.randn(6, 3, 5)
    whole, h_n = lrn(x)
    first, state = lrn(x[:2])
    second, state = lrn(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, h_n)


def padded(sequences, left):
    """The sequences in one tensor with NaN as padding, and the padding mask."""
    time = max(map(len, sequences))
    x = torch.full((time, len(sequences), 5), float("nan"))
    mask = torch.ones(time, len(sequences), dtype=torch.bool)
    for b, sequence in enumerate(sequences):
        positions = slice(time - len(sequence), time) if left else slice(0, len(sequence))
        x[positions, b] = sequence
        mask[positions, b] = False
    return x, mask


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_padding_has_no_influence(left, bidirectional, layer_norm):
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
    for result, expected in zip(output[1:], reference[1:]):  # batch sizes and permutations
        assert (result is None and expected is None) or torch.equal(result, expected)
    unpacked, lengths = pad_packed_sequence(output)
    for b, sequence in enumerate(sequences):
        expected_output, expected_h_n = lrn(sequence, h_0[:, b])
        torch.testing.assert_close(unpacked[: lengths[b], b], expected_output)
        torch.testing.assert_close(h_n[:, b], expected_h_n)


def test_dropout_between_layers_only():
    x = torch.randn(6, 3, 5)
    single = LRN(**SIZES, dropout=0.5)
    assert torch.equal(single(x)[0], single.eval()(x)[0])
    double = LRN(**SIZES, num_layers=2, dropout=0.5)
    in_training = double(x)[0]
    assert not torch.equal(in_training, double.eval()(x)[0])


def test_an_empty_sequence():
    h_0 = torch.randn(1, 3, 7)
    output, h_n = LRN(**SIZES)(torch.zeros(0, 3, 5), h_0)
    assert output.shape == (0, 3, 7)
    assert torch.equal(h_n, h_0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, not 0"),
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"dropout": 1.5}, "dropout must lie between 0 and 1, not 1.5"),
        ({"activation": "relu"}, "activation must be one of"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        LRN(**{**SIZES, **options})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.zeros(4, 3, 6),), r"C=5, but its shape is \(4, 3, 6\)"),
        ((torch.zeros(4, 3, 5), torch.zeros(2, 3, 7)), r"h_0 must be .*\(1, 3, 7\)"),
        (
            (torch.zeros(4, 3, 5), None, torch.zeros(3, 4, dtype=torch.bool)),
            r"padding_mask must have .*\(4, 3\), but its shape is \(3, 4\)",
        ),
        (
            (pack_sequence([torch.zeros(4, 5)]), None, torch.zeros(4, 1, dtype=torch.bool)),
            "leave padding_mask out",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LRN(**SIZES)(*arguments)
