"""The window of tokens: its definition, its state, and padding."""

import pytest
import torch

from fairseq_lrn.modules.causal_window import CausalWindow


@pytest.fixture(params=[2, 3])
def window(request):
    torch.manual_seed(1)
    return CausalWindow(4, request.param).double()


def test_definition(window):
    x = torch.randn(6, 2, 4).double()
    maps = window.map.weight.split(4, dim=1)  # of the token furthest back first
    expected = x.clone()
    for distance, weight in enumerate(reversed(maps), 1):
        expected[distance:] += x[:-distance] @ weight.t()
    found, state = window(x)
    torch.testing.assert_close(found, expected)
    assert state.shape == (1, 2, (window.size - 1) * 4)


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_parts_of_a_text_continue_each_other(window, cut):
    x = torch.randn(6, 2, 4).double()
    expected, last = window(x)
    first, state = window(x[:cut])
    second, state = window(x[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    torch.testing.assert_close(state, last)


def test_padding_after_a_text(window):
    x = torch.randn(6, 3, 4).double()
    state = torch.randn(1, 3, (window.size - 1) * 4).double()
    mask = torch.zeros(6, 3, dtype=torch.bool)
    mask[4:, 0] = mask[1:, 1] = mask[:, 2] = True
    found, last = window(x, state, mask)
    for row, length in enumerate((4, 1, 0)):
        one = slice(row, row + 1)
        alone, end = window(x[:length, one], state[:, one])
        torch.testing.assert_close(found[:length, one], alone)
        torch.testing.assert_close(last[:, one], end)


def test_gradient(window):
    x = torch.randn(3, 1, 4).double().requires_grad_()
    state = torch.randn(1, 1, (window.size - 1) * 4).double().requires_grad_()
    assert torch.autograd.gradcheck(window, (x, state))
