"""The pointer agrees with a derivation in numpy, and the search for spans with enumeration."""

import numpy as np
import pytest
import torch

from fairseq_lrn.modules.answer_pointer import AnswerPointer, best_spans
from fairseq_lrn.modules.cells import CELLS


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_of(module):
    return module.weight.detach().numpy()


def expected(pointer, x, state):
    """The scores ``T`` of the first and the last word of one text ``T x C``, with an LRN."""
    w_text, w_state, w_score = map(numpy_of, (pointer.text_map, pointer.state_map, pointer.score))
    first = np.tanh(x @ w_text.T + w_state @ state) @ w_score[0]
    weights = np.exp(first) / np.exp(first).sum()
    projection = pointer.cell.projection
    kqv = numpy_of(projection) @ (weights @ x) + projection.bias.detach().numpy()
    k, q, v = np.split(kqv, 3)
    state = np.tanh(sigmoid(k + state) * v + sigmoid(q - state) * state)
    return first, np.tanh(x @ w_text.T + w_state @ state) @ w_score[0]


def test_numpy():
    torch.manual_seed(1)
    pointer = AnswerPointer(6, 4, 5, cell="lrn").eval()
    x, state = torch.randn(7, 2, 6), torch.randn(2, 4)
    with torch.no_grad():
        found = pointer(x, torch.zeros(7, 2, dtype=torch.bool), state)
    for row in range(2):
        wanted = expected(pointer, x[:, row].numpy(), state[row].numpy())
        for scores, right in zip(found, wanted):
            np.testing.assert_allclose(scores[row].numpy(), right, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_padding(cell):
    torch.manual_seed(1)
    pointer = AnswerPointer(6, 6, 5, cell=cell).eval()
    x, state = torch.randn(5, 1, 6), torch.randn(1, 6)
    wanted = pointer(x, torch.zeros(5, 1, dtype=torch.bool), state)
    padded = torch.cat([torch.full((2, 1, 6), 9.0), x, torch.full((1, 1, 6), 9.0)])
    found = pointer(padded, padded[..., 0] == 9.0, state)
    for scores, right in zip(found, wanted):
        torch.testing.assert_close(scores[:, 2:-1], right)
        assert (scores[:, [0, 1, -1]] == -1e9).all()


@pytest.mark.parametrize("cell", CELLS)
def test_the_cell_begins_with_the_given_state(cell):
    torch.manual_seed(1)
    pointer = AnswerPointer(6, 6, 5, cell=cell).eval()
    pointer.state_map.weight.data.zero_()  # so that the cell has the same input each time
    outputs = []
    pointer.cell.register_forward_hook(lambda module, given, result: outputs.append(result[0]))
    x, mask = torch.randn(3, 1, 6), torch.zeros(3, 1, dtype=torch.bool)
    for state in (torch.zeros(1, 6), torch.ones(1, 6)):
        pointer(x, mask, state)
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("max_distance", (0, 1, 3, 15))
@pytest.mark.parametrize("length", (1, 2, 9, 30))
def test_the_best_span_is_that_of_an_enumeration(length, max_distance):
    torch.manual_seed(length)
    scores = [torch.randn(8, length) for _ in range(2)]
    starts, ends, log_probs = best_spans(*scores, max_distance)
    first, last = (one.log_softmax(-1) for one in scores)
    for row in range(8):
        score, i, j = max(
            (float(first[row, i] + last[row, j]), i, j)
            for i in range(length)
            for j in range(i, min(i + max_distance + 1, length))
        )
        assert (starts[row], ends[row]) == (i, j)
        assert log_probs[row].item() == pytest.approx(score)


def test_the_best_span_is_not_made_of_the_two_best_words():
    # Separately, the best first word is 2 and the best last word is 0, which is no span.
    first = torch.tensor([[0.2, 0.1, 0.7]]).log()
    last = torch.tensor([[0.6, 0.3, 0.1]]).log()
    starts, ends, log_probs = best_spans(first, last, 15)
    assert (starts.item(), ends.item()) == (0, 0)
    assert log_probs.exp().item() == pytest.approx(0.12)
