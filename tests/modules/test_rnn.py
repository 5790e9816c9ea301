"""LRN has the interface of nn.GRU."""

import copy
import inspect
import io
import itertools
import pickle

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
    with pytest.warns(UserWarning, match="no effect with num_layers=1"):
        single = LRN(**SIZES, dropout=0.5)
    assert torch.equal(single(x)[0], single.eval()(x)[0])
    double = LRN(**SIZES, num_layers=2, dropout=0.5)
    in_training = double(x)[0]
    assert not torch.equal(in_training, double.eval()(x)[0])


def test_signatures_begin_with_those_of_gru():
    for ours, theirs in ((LRN.__init__, nn.RNNBase.__init__), (LRN.forward, nn.GRU.forward)):
        expected = list(inspect.signature(theirs).parameters.items())
        expected = [(name, one) for name, one in expected if name not in ("mode", "proj_size")]
        parameters = inspect.signature(ours).parameters.values()
        for parameter, (name, gru) in zip(parameters, expected):
            assert parameter.name == name
            assert parameter.default == gru.default
    assert LRN(5, 7, 2, False, True, 0.1, True, "cpu", torch.float64).num_layers == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bias": False, "dropout": 0.5},
        {"num_layers": 3, "batch_first": True, "bidirectional": True},
    ],
)
def test_attributes_are_those_of_gru(options):
    lrn, gru = LRN(**SIZES, **options), nn.GRU(**SIZES, **options)
    for name in (
        "input_size hidden_size num_layers bias batch_first dropout bidirectional training".split()
    ):
        assert getattr(lrn, name) == getattr(gru, name)
        assert type(getattr(lrn, name)) is type(getattr(gru, name))
    assert lrn.extra_repr() == gru.extra_repr()
    assert lrn.flatten_parameters() is None
    lrn.dropout = 1
    assert lrn.dropout == 1.0 and lrn.layers.dropout == 1.0


def test_parameter_names():
    """Checkpoints have these names."""
    assert list(LRN(**SIZES, num_layers=2, bidirectional=True).state_dict()) == [
        f"layers.{layer}.cells.{direction}.projection.{name}"
        for layer in range(2)
        for direction in range(2)
        for name in ("weight", "bias")
    ]


def test_device_and_type():
    lrn = LRN(**SIZES, device="cpu", dtype=torch.float64, layer_norm=True)
    assert {one.dtype for one in lrn.parameters()} == {torch.float64}
    assert lrn(torch.randn(4, 3, 5).double())[0].dtype == torch.float64
    assert all(one.is_meta for one in LRN(**SIZES, device="meta").parameters())
    skipped = nn.utils.skip_init(LRN, **SIZES)
    assert not any(one.is_meta for one in skipped.parameters())
    for dtype in (torch.bfloat16, torch.float64):
        output, h_n = LRN(**SIZES).to(dtype)(torch.randn(4, 3, 5, dtype=dtype))
        assert output.dtype == h_n.dtype == dtype


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}])
def test_states_under_autocast(monkeypatch, backend, options):
    """They are float32, as in nn.GRU on a CPU, so that a text can be read in parts."""
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", backend)
    lrn, x = LRN(**SIZES, **options), torch.randn(20, 3, 5)
    is_one_way = not lrn.bidirectional
    with torch.autocast("cpu", torch.bfloat16):
        output, whole = lrn(x)
        _, h_n = lrn(x[:9])
        _, h_n = lrn(x[9:].bfloat16(), h_n if is_one_way else None)
    assert output.dtype == torch.bfloat16
    assert whole.dtype == h_n.dtype == torch.float32
    if is_one_way:
        torch.testing.assert_close(h_n, whole, rtol=0, atol=1e-6)
    weights = list(lrn.parameters())
    found = torch.autograd.grad(whole.sum() + output[0].sum(), weights)
    _, exact_whole = (exact := lrn(x))
    expected = torch.autograd.grad(exact_whole.sum() + exact[0][0].sum(), weights)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_reset_parameters():
    lrn = LRN(**SIZES)
    before = copy.deepcopy(lrn.state_dict())
    nn.init.ones_(lrn.layers[0].cells[0].projection.bias)
    lrn.reset_parameters()
    for name, one in lrn.state_dict().items():
        assert torch.equal(one, before[name]) == ("bias" in name)


def test_copies():
    lrn, x = LRN(**SIZES, num_layers=2, dropout=0.5).eval(), torch.randn(4, 3, 5)
    file = io.BytesIO()
    torch.save(lrn, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(lrn), pickle.loads(pickle.dumps(lrn)), loaded):
        assert torch.equal(other(x)[0], lrn(x)[0]) and other.dropout == 0.5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_unusual_default_device(bidirectional, packed):
    """Nothing is made on the default device where the input decides."""
    lrn = LRN(**SIZES, bidirectional=bidirectional, num_layers=2, dropout=0.5)
    x = torch.randn(4, 3, 5)
    if packed:
        x = pack_sequence([torch.randn(n, 5) for n in LENGTHS], enforce_sorted=False)
    with torch.device("meta"):
        output, h_n = lrn(x)
        assert not h_n.is_meta and not output[0].is_meta
        output, h_n = LRN(**SIZES, bidirectional=bidirectional)(x.to("meta"))
        assert h_n.is_meta and output[0].is_meta


class Net(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.rnn = LRN(**SIZES, **options)

    def forward(self, x):
        output, h_n = self.rnn(x)
        return output, h_n


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_first": True, "bidirectional": True, "num_layers": 2, "dropout": 0.1},
        {"layer_norm": True, "output_gate": True, "bias": False},
    ],
)
def test_torchscript(options):
    lrn, net = LRN(**SIZES, **options).eval(), Net(options).eval()
    net.rnn.load_state_dict(lrn.state_dict())
    scripted, scripted_net = torch.jit.script(lrn), torch.jit.script(net)
    for x in (torch.randn(4, 3, 5), torch.randn(4, 5)):
        expected = lrn(x)
        for result in (scripted(x), scripted_net(x), scripted(x, 0 * expected[1])):
            for one, other in zip(result, expected):
                torch.testing.assert_close(one, other)
    x, mask = torch.randn(4, 3, 5), torch.zeros(4, 3, dtype=torch.bool)
    mask[2:, 1] = True
    torch.testing.assert_close(scripted(x, padding_mask=mask)[0], lrn(x, padding_mask=mask)[0])
    with pytest.raises(Exception, match="hx must have num_layers"):
        scripted(x, torch.cat([expected[1], expected[1]]).unsqueeze(1).repeat(1, 3, 1))


def test_no_sentences():
    output, h_n = LRN(**SIZES)(torch.zeros(4, 0, 5))
    assert output.shape == (4, 0, 7) and h_n.shape == (1, 0, 7)


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
        ({"dropout": True}, "dropout must lie between 0 and 1, not True"),
        ({"activation": "relu"}, "activation must be one of"),
        ({"hidden_size": 7.0}, "hidden_size must be an integer, not 7.0"),
        ({"bias": 1}, "bias must be True or False, not 1"),
        ({"batch_first": None}, "batch_first must be True or False, not None"),
        ({"proj_size": 3}, "unexpected keyword argument 'proj_size'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LRN(**{**SIZES, **options})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.zeros(4, 3, 6),), r"C=5, but its shape is \(4, 3, 6\)"),
        ((torch.zeros(4, 3, 5), torch.zeros(2, 3, 7)), r"hx must be .*\(1, 3, 7\)"),
        (
            (torch.zeros(4, 3, 5), None, torch.zeros(3, 4, dtype=torch.bool)),
            r"padding_mask must have .*\(4, 3\), but its shape is \(3, 4\)",
        ),
        (
            (pack_sequence([torch.zeros(4, 5)]), None, torch.zeros(4, 1, dtype=torch.bool)),
            "leave padding_mask out",
        ),
        (
            (torch.zeros(4, 3, 5), None, torch.zeros(4, 3)),
            "padding_mask must be boolean .* not torch.float32; convert it",
        ),
        ((torch.zeros(4, 3, 5).double(),), "input is torch.float64, but the weights are .*float32"),
        ((torch.zeros(4, 3, 5).long(),), r"convert it with .to\(torch.float32\)"),
        ((torch.zeros(4, 3, 5), 2 * (torch.zeros(1, 3, 7),)), "hx must be one tensor.* not tuple"),
        ((torch.zeros(4, 3, 5), torch.zeros(1, 3, 7).half()), "hx is torch.float16, but the weig"),
        ((torch.zeros(4, 5), torch.zeros(1, 7, device="meta")), "hx is on meta, but input is on c"),
        ((torch.zeros(4, 5), torch.zeros(1, 1, 7)), r"hx must be .* x H = \(1, 7\)"),
        ((pack_sequence([torch.zeros(4, 5)]), torch.zeros(1, 2, 7)), r"hx must be .*\(1, 1, 7\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LRN(**SIZES)(*arguments)
