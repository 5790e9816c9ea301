"""A layer of cells, in one direction or in both directions."""

import pytest
import torch

from fairseq_lrn.modules import CELLS, RecurrentLayer
from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.cells import CELLS_WITH_STATE_WEIGHTS
from fairseq_lrn.modules.dropout import dropout_mask

T, B, C, H = 6, 5, 3, 4


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_direction_equals_the_loop_of_its_cell(name, bidirectional, norm, padding_mask):
    layer = RecurrentLayer(name, C, H, bidirectional=bidirectional, norm=norm)
    directions = 2 if bidirectional else 1
    x, h_0 = torch.randn(T, B, C), torch.randn(directions, B, layer.state_size)
    output, h_n = layer(x, h_0, padding_mask)
    assert output.shape == (T, B, directions * H) and h_n.shape == h_0.shape
    for direction, cell in enumerate(layer.cells):
        expected, state = cell.loop(x, h_0[direction], padding_mask, reverse=direction == 1)
        result = output[..., direction * H : (direction + 1) * H]
        torch.testing.assert_close(result, expected, rtol=0, atol=2e-5)
        torch.testing.assert_close(h_n[direction], state, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", CELLS)
def test_an_empty_sequence(name, norm):
    layer = RecurrentLayer(name, C, H, bidirectional=True, norm=norm)
    h_0 = torch.randn(2, B, layer.state_size)
    output, h_n = layer(torch.randn(0, B, C), h_0)
    assert output.shape == (0, B, 2 * H) and torch.equal(h_n, h_0)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bias", [False, True])
def test_every_parameter_has_a_gradient(name, norm, bias, padding_mask):
    layer = RecurrentLayer(name, C, H, bidirectional=True, norm=norm, bias=bias)
    output, _ = layer(torch.randn(T, B, C), torch.randn(2, B, layer.state_size), padding_mask)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_initial_states_are_zeros(name, bidirectional):
    layer = RecurrentLayer(name, C, H, bidirectional=bidirectional)
    states = layer.initial_state(torch.randn(T, B, C))
    assert states.shape == (1 + bidirectional, B, layer.state_size) and not states.any()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_torchscript(name, bidirectional, padding_mask):
    layer = RecurrentLayer(name, C, H, bidirectional=bidirectional)
    x, h_0 = torch.randn(T, B, C), torch.randn(1 + bidirectional, B, layer.state_size)
    expected = layer(x, h_0, padding_mask)
    for result, reference in zip(torch.jit.script(layer)(x, h_0, padding_mask), expected):
        torch.testing.assert_close(result, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("option", ["weight_dropout", "recurrent_weight_dropout"])
def test_dropped_weights(cell, option):
    """A run with dropped weights is a run with these elements of the weights set to zero."""
    layer = RecurrentLayer(cell, 6, 8, **{option: 0.5})
    x = torch.randn(5, 3, 6)
    state = layer.initial_state(x)
    torch.manual_seed(4)
    dropped, _ = layer(x, state)
    has_recurrent = cell in CELLS_WITH_STATE_WEIGHTS
    whole, _ = layer.eval()(x, state)
    if option == "recurrent_weight_dropout" and not has_recurrent:
        torch.testing.assert_close(dropped, whole)
        return
    assert not torch.allclose(dropped, whole)
    torch.manual_seed(4)
    projection = layer.cells[0].projection
    maps = [part for part in layer.modules() if isinstance(part, Affine)]
    with torch.no_grad():
        for part in maps:
            if (part is projection) == (option == "weight_dropout"):
                mask = dropout_mask(part.weight, 0.5)
                assert set(mask.flatten().tolist()) == {0.0, 2.0}
                part.weight.mul_(mask)
    expected, _ = layer(x, state)
    torch.testing.assert_close(dropped, expected, rtol=0, atol=1e-6)


def test_gradients_of_dropped_weights():
    layer = RecurrentLayer("lrn", 6, 8, weight_dropout=0.5)
    x = torch.randn(5, 3, 6)
    layer(x, layer.initial_state(x))[0].sum().backward()
    gradient = layer.cells[0].projection.weight.grad
    assert 0.3 < (gradient == 0).float().mean() < 0.7


def test_weight_dropout_in_torchscript():
    layer = torch.jit.script(RecurrentLayer("lrn", 4, 4, weight_dropout=0.5))
    x, h_0 = torch.randn(3, 2, 4), torch.zeros(1, 2, 4)
    with pytest.raises(torch.jit.Error, match="TorchScript cannot drop weights in training"):
        layer(x, h_0)
    assert layer.eval()(x, h_0)[0].shape == (3, 2, 4)


@pytest.mark.parametrize("name", CELLS)
def test_autocast_to_float16(name):
    """oneDNN's LSTM rejects it on most processors, so then the cell's own loop runs."""
    layer = RecurrentLayer(name, 5, 8)
    x = torch.randn(4, 3, 5)
    h_0 = torch.zeros(1, 3, layer.state_size)
    expected, _ = layer(x, h_0)
    with torch.autocast("cpu", torch.float16):
        output, _ = layer(x, h_0)
        output.float().sum().backward()
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.01)
