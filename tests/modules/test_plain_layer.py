"""A layer that is a recurrence alone."""

import pytest
import torch

from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.modules.plain_layer import PlainLayer


@pytest.mark.parametrize("cell", CELLS)
def test_is_the_recurrence(cell):
    layer = PlainLayer(5, 7, cell, dropout=0.4).eval()
    x = torch.randn(6, 3, 5)
    state = layer.initial_state(x)
    output, final = layer(x, state)
    assert output.shape == (6, 3, 7) and final.shape == state.shape
    expected, _ = layer.recurrence(x, state)
    assert torch.equal(output, expected)


def test_dropout_of_the_input():
    layer = PlainLayer(5, 7, "lrn", dropout=0.4, locked_dropout=True)
    seen = []
    layer.recurrence.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    x = torch.ones(6, 3, 5)
    layer(x, layer.initial_state(x))
    assert torch.equal(seen[0], seen[0][:1].expand(6, 3, 5)) and (seen[0] == 0).any()
