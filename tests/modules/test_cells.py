"""Cells. test_parity.py compares them with numbers that the authors' code produced."""

import pytest
import torch
from torch import nn

from fairseq_lrn.modules.cells import (
    CELLS,
    CELLS_WITH_ACTIVATION,
    CELLS_WITH_STATE_WEIGHTS,
    build_cell,
)

T, B, C, H = 6, 5, 3, 4


def assert_same(results, expected):
    for result, reference in zip(results, expected):
        torch.testing.assert_close(result, reference, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_carries_the_state(name, norm, reverse, padding_mask):
    cell = build_cell(name, C, H, norm=norm)
    x = torch.randn(T, B, C)
    initial = torch.randn(B, cell.state_size)
    output, final = cell(x, initial, padding_mask, reverse)
    for row in range(B):
        is_token = ~padding_mask[:, row]
        tokens = x[is_token, row].unsqueeze(1)
        expected, state = cell(tokens, initial[row : row + 1], None, reverse)
        assert_same([output[is_token, row], final[row]], [expected[:, 0], state[0]])
        previous = initial[row, :H]
        for t in reversed(range(T)) if reverse else range(T):
            if padding_mask[t, row]:
                assert_same([output[t, row]], [previous])
            previous = output[t, row]


@pytest.mark.parametrize("name", ["lrn", "olrn", "lstm"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_the_fused_kernel_equals_the_loop(
    name, reverse, padded, padding_mask, gradients, randomise
):
    cell = randomise(build_cell(name, C, H))
    x, initial = torch.randn(T, B, C), torch.randn(B, cell.state_size)
    mask = padding_mask if padded else None
    results = cell(x, initial, mask, reverse)
    expected = cell.loop(x, initial, mask, reverse)
    assert_same(results, expected)
    assert_same(gradients(cell, *results), gradients(cell, *expected))


@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_in_two_pieces(name):
    cell = build_cell(name, C, H)
    x, initial = torch.randn(T, B, C), torch.randn(B, cell.state_size)
    output, final = cell(x, initial)
    first, state = cell(x[:2], initial)
    second, state = cell(x[2:], state)
    assert_same([torch.cat([first, second]), state], [output, final])


@pytest.mark.parametrize("name", CELLS)
def test_the_state_begins_with_the_output(name):
    cell = build_cell(name, C, H)
    x = torch.randn(T, B, C)
    output, final = cell(x, cell.initial_state(x))
    assert final.shape == (B, cell.state_size)
    assert torch.equal(final[:, :H], output[-1])


def test_lstm_equals_torch(randomise):
    cell, lstm = randomise(build_cell("lstm", C, H)), nn.LSTM(C, H)

    def in_torch_order(parameter):
        i, f, o, candidate = parameter.chunk(4)
        return torch.cat([i, f, candidate, o])

    lstm.load_state_dict(
        {
            "weight_ih_l0": in_torch_order(cell.projection.weight),
            "weight_hh_l0": in_torch_order(cell.recurrent.weight),
            "bias_ih_l0": in_torch_order(cell.projection.bias),
            "bias_hh_l0": in_torch_order(cell.recurrent.bias),
        }
    )
    x, state = torch.randn(T, B, C), torch.randn(B, 2 * H)
    output, final = cell(x, state)
    h, c = state.unsqueeze(0).chunk(2, -1)
    expected, (h, c) = lstm(x, (h.contiguous(), c.contiguous()))
    assert_same([output, final], [expected, torch.cat([h, c], -1)[0]])


@pytest.mark.parametrize("is_normalised", [False, True])
def test_lstm_runs_in_the_layer_of_torch_unless_normalised(
    monkeypatch, is_normalised, padding_mask
):
    """Only the speed differs, so the test counts calls."""
    calls = []
    torch_lstm = torch._VF.lstm
    monkeypatch.setattr(torch, "lstm", lambda *args: calls.append(args) or torch_lstm(*args))
    cell = build_cell("lstm", C, H, norm="layer" if is_normalised else None)
    x = torch.randn(T, B, C)
    cell(x, cell.initial_state(x), padding_mask)
    assert len(calls) == (0 if is_normalised else 1)


@pytest.mark.parametrize("is_padded", [False, True])
def test_lstm_in_evaluation_with_gradients(monkeypatch, is_padded, padding_mask):
    """Dynamic evaluation needs them; on a GPU, torch keeps what they need if told to train."""
    trains = []
    torch_lstm = torch._VF.lstm

    def lstm(*args):
        trains.append(args[7 if is_padded else 6])
        return torch_lstm(*args)

    monkeypatch.setattr(torch, "lstm", lstm)
    cell = build_cell("lstm", C, H).eval()
    x = torch.randn(T, B, C)
    for has_gradients in (False, True):
        with torch.set_grad_enabled(has_gradients):
            cell(x, cell.initial_state(x), padding_mask if is_padded else None)
    assert trains == [False, True]


def test_which_cells_run_in_the_scan():
    assert [name for name in CELLS if build_cell(name, C, H).runs_in_scan] == ["lrn", "olrn"]


@pytest.mark.parametrize("name", CELLS)
def test_the_activation_of_cells_that_take_one(name):
    """Large inputs and states: tanh bounds the state, identity does not."""
    torch.manual_seed(2)
    x, state = 10 * torch.randn(T, B, C), 10 * torch.randn(B, 2 * H)
    outputs = {}
    for activation in ("tanh", "identity"):
        torch.manual_seed(1)
        cell = build_cell(name, C, H, activation=activation)
        outputs[activation], _ = cell(x, state[:, : cell.state_size])
    changed = not torch.equal(outputs["tanh"], outputs["identity"])
    assert changed == (name in CELLS_WITH_ACTIVATION)
    if changed:
        assert outputs["tanh"].abs().max() <= 1 < outputs["identity"].abs().max()


def test_names_of_the_cells():
    """Options list the cells in this order."""
    assert CELLS == ("lrn", "olrn", "atr", "sru", "gru", "lstm")
    assert CELLS_WITH_ACTIVATION == ("lrn", "olrn", "atr")
    assert CELLS_WITH_STATE_WEIGHTS == ("atr", "gru", "lstm")


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bias", [False, True])
def test_bias_of_the_projection(name, bias, norm):
    """With layer norm, the shift of the norm is the bias."""
    projection = build_cell(name, C, H, bias=bias, norm=norm).projection
    shifts = [getattr(layer, "bias", None) for layer in projection.norms]
    assert (projection.bias is not None) == (bias and norm != "layer")
    assert any(shift is not None for shift in shifts) == (bias and norm == "layer")


@pytest.mark.parametrize("reverse", [False, True])
def test_unfolded_states_of_a_cell(reverse, norm, randomise):
    cell = randomise(build_cell("lrn", C, H, norm=norm))
    x, state = torch.randn(T, B, C), torch.randn(B, H)
    expected, _ = cell(x, state, None, reverse)
    unfolded = cell.unfold(x, state, reverse)
    torch.testing.assert_close(unfolded.sum(state), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(unfolded.states, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_torchscript(name, norm, padding_mask):
    cell = build_cell(name, C, H, norm=norm)
    x, state = torch.randn(T, B, C), torch.randn(B, cell.state_size)
    scripted = torch.jit.script(cell)
    assert_same(scripted(x, state, padding_mask, True), cell(x, state, padding_mask, True))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "rnn"}, r"cell must be one of .*lrn.* not 'rnn'"),
        ({"activation": "relu"}, r"activation must be one of .*tanh.* not 'relu'"),
        ({"name": "gru", "activation": "relu"}, "activation must be one of"),
        ({"norm": "batch"}, "norm must be one of"),
        ({"input_size": 0}, "input_size must be at least 1, not 0"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, not 0"),
    ],
)
def test_wrong_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        build_cell(**{"name": "lrn", "input_size": C, "hidden_size": H, **change})
