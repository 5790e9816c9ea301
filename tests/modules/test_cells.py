"""Cells (what they compute: test_parity.py), and conditional recurrences made of them."""

import pytest
import torch
from torch import nn

from fairseq_lrn.modules import (
    CELLS,
    AdditiveAttention,
    AlignedRecurrence,
    AttentiveRecurrence,
    RecurrentLayer,
    build_cell,
    cells,
)

T, B, C, M, H = 6, 5, 3, 8, 4
# No padding, right, left, both sides and inside, nothing else.
PADDING = torch.tensor(
    [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], [1] * 6]
).bool()
NORMS = [
    None,
    "layer",
    pytest.param("rms", marks=pytest.mark.skipif(not hasattr(nn, "RMSNorm"), reason="old torch")),
]


def gradients(module, *outputs):
    module.zero_grad()
    torch.manual_seed(7)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def assert_same(ours, expected):
    for one, other in zip(ours, expected):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_does_not_matter_wherever_it_is(name, norm, reverse):
    cell = build_cell(name, C, H, norm=norm)
    x = torch.randn(T, B, C)
    initial = torch.randn(B, cell.state_size)
    output, final = cell(x, initial, PADDING.t(), reverse)
    for row, padding in enumerate(PADDING):
        alone, state = cell(x[~padding][:, row : row + 1], initial[row : row + 1], None, reverse)
        assert_same([output[~padding, row], final[row]], [alone[:, 0], state[0]])
        # At padding the output is that of the step before.
        before = initial[row, :H]
        for t in reversed(range(T)) if reverse else range(T):
            if padding[t]:
                assert_same([output[t, row]], [before])
            before = output[t, row]


@pytest.mark.parametrize("name", ["lrn", "olrn", "lstm"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padding", [None, PADDING.t()], ids=["whole", "padded"])
def test_the_fused_kernel_computes_the_loop(name, reverse, padding):
    cell = build_cell(name, C, H)
    with torch.no_grad():
        for parameter in cell.parameters():  # biases, too
            parameter.normal_()
    x, initial = torch.randn(T, B, C), torch.randn(B, cell.state_size)
    ours = cell(x, initial, padding, reverse)
    expected = cell.loop(x, initial, padding, reverse)
    assert_same(ours, expected)
    assert_same(gradients(cell, *ours), gradients(cell, *expected))


def test_lstm_is_torchs():
    cell, lstm = build_cell("lstm", C, H), nn.LSTM(C, H)
    with torch.no_grad():
        for ours, theirs in zip(cell._torch_weights(), lstm.parameters()):
            theirs.copy_(ours)
    x, state = torch.randn(T, B, C), torch.randn(B, 2 * H)
    output, final = cell(x, state)
    expected, (h, c) = lstm(x, tuple(s.contiguous() for s in state[None].chunk(2, -1)))
    assert_same([output, final], [expected, torch.cat([h, c], -1)[0]])


def test_lstm_uses_torchs_layer_unless_normalised(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "lstm", lambda *args: calls.append(1) or intact(*args))
    intact = torch._VF.lstm
    x = torch.randn(T, B, C)
    for norm, expected in ((None, 1), ("layer", 0)):
        calls.clear()
        cell = build_cell("lstm", C, H, norm=norm)
        cell(x, cell.initial_state(x), PADDING.t())
        assert len(calls) == expected


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("norm", NORMS)
def test_empty_sequence(name, norm):
    layer = RecurrentLayer(name, C, H, bidirectional=True, norm=norm)
    h_0 = torch.randn(2, B, layer.state_size)
    output, h_n = layer(torch.randn(0, B, C), h_0)
    assert output.shape == (0, B, 2 * H) and torch.equal(h_n, h_0)
    memory, state = torch.randn(T, B, M), torch.randn(B, layer.state_size)
    aligned = AlignedRecurrence(name, C, M, H, norm=norm)
    output, final = aligned(torch.randn(0, B, C), memory[:0], state)
    assert output.shape == (0, B, H) and torch.equal(final, state)
    attentive = AttentiveRecurrence(name, C, M, H, num_heads=2, norm=norm)
    output, final, contexts, weights = attentive(torch.randn(0, B, C), memory, state)
    assert output.shape == (0, B, H) and torch.equal(final, state)
    assert contexts.shape == (0, B, M) and weights.shape == (0, B, T, 2)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bias", [False, True])
def test_every_parameter_has_a_gradient(name, norm, bias):
    layer = RecurrentLayer(name, C, H, bidirectional=True, norm=norm, bias=bias)
    output, _ = layer(torch.randn(T, B, C), torch.randn(2, B, layer.state_size), PADDING.t())
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_both_directions():
    for name in CELLS:
        layer = RecurrentLayer(name, C, H, bidirectional=True)
        x, h_0 = torch.randn(T, B, C), torch.randn(2, B, layer.state_size)
        output, h_n = layer(x, h_0, PADDING.t())
        for direction, cell in enumerate(layer.cells):
            expected = cell.loop(x, h_0[direction], PADDING.t(), direction == 1)
            ours = output[..., direction * H :][..., :H], h_n[direction]
            assert_same(ours, expected)


@pytest.mark.parametrize("name", ["lrn", "olrn"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("reverse", [False, True])
def test_aligned_recurrence_is_one_scan(monkeypatch, name, norm, reverse):
    calls = []
    intact = cells.lrn_scan
    monkeypatch.setattr(
        cells, "lrn_scan", lambda *args, **options: calls.append(1) or intact(*args, **options)
    )
    recurrence = AlignedRecurrence(name, C, M, H, norm=norm)
    with torch.no_grad():
        for parameter in recurrence.parameters():
            parameter.normal_()
    x, memory, state = torch.randn(T, B, C), torch.randn(T, B, M), torch.randn(B, H)
    ours = recurrence(x, memory, state, PADDING.t(), reverse)
    assert len(calls) == 1
    outputs = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        for cell, given in ((recurrence.lower, x), (recurrence.upper, memory)):
            state = cell.masked_step(cell.project(given[t]), state, PADDING[:, t])
        outputs[t] = state
    expected = torch.stack(outputs), state
    assert_same(ours, expected)
    assert_same(gradients(recurrence, *ours), gradients(recurrence, *expected))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bias", [False, True])
def test_projecting_the_memory_changes_nothing(monkeypatch, name, bias):
    """Either way of feeding the upper cell, also with a bias, which the heads share."""
    recurrence = AttentiveRecurrence(name, C, 24, H, num_heads=3, bias=bias)
    with torch.no_grad():
        for parameter in recurrence.parameters():
            parameter.normal_()
    x, memory = torch.randn(T, 2, C), torch.randn(4, 2, 24)
    state = torch.randn(2, recurrence.state_size)
    assert recurrence._projects_values(x, memory)
    padding = PADDING[1:3].t()
    ours = recurrence(x, memory, state, padding)
    ours_gradients = gradients(recurrence, ours[0], ours[2])
    monkeypatch.setattr(AttentiveRecurrence, "_projects_values", lambda *_: False)
    expected = recurrence(x, memory, state, padding)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    expected_gradients = gradients(recurrence, expected[0], expected[2])
    torch.testing.assert_close(ours_gradients, expected_gradients, rtol=1e-3, atol=1e-3)


def test_additive_attention():
    """Its equation, written out for each head."""
    attention = AdditiveAttention(H, M, num_heads=2)
    nn.init.normal_(attention.query_proj.bias)
    query, memory = torch.randn(B, H), torch.randn(T, B, M)
    context, weights = attention(query, memory, PADDING)
    for head in range(2):
        block = slice(head * M // 2, (head + 1) * M // 2)
        hidden = torch.tanh(
            attention.query_proj(query)[:, block] + attention.key_proj(memory)[..., block]
        )
        scores = attention.score_proj(hidden)[..., 0]
        padded = scores.masked_fill(PADDING.t(), -torch.inf)
        padded[:, -1] = 0.0  # nothing but padding: all alike
        expected = padded.softmax(0)
        assert_same([weights[..., head].t()], [expected])
        assert_same([context[:, block]], [(expected[..., None] * memory[..., block]).sum(0)])
    with pytest.raises(ValueError, match="divisible by the number of attention heads"):
        AdditiveAttention(H, M, num_heads=3)
