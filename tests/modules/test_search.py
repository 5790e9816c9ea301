"""The state of a beam search."""

import pytest
import torch

from fairseq_lrn.modules.search import SearchState

B, W, S, C, H = 3, 2, 4, 5, 6


@pytest.fixture
def state():
    """Two hypotheses for each of three sentences, in two layers."""
    return SearchState(
        recurrent=[torch.randn(W * B, H) for _ in range(2)],
        memory=[torch.randn(S, B, C) for _ in range(4)],
        padding_mask=torch.rand(B, S) > 0.5,
    )


def test_selecting_hypotheses_keeps_the_memory(state):
    recurrent, memory, mask = state.recurrent, state.memory, state.padding_mask
    rows = torch.tensor([4, 1, 1, 0, 3, 5])
    state.select(rows)
    assert all(torch.equal(new, old[rows]) for new, old in zip(state.recurrent, recurrent))
    assert all(new is old for new, old in zip(state.memory, memory))
    assert state.padding_mask is mask


def test_selecting_sentences(state):
    """Sentence 1 is finished; of the other sentences, hypotheses change places."""
    recurrent, memory, mask = state.recurrent, state.memory, state.padding_mask
    rows, sentences = torch.tensor([3, 2, 0, 5]), torch.tensor([0, 2])
    state.select(rows, sentences)
    assert all(torch.equal(new, old[rows]) for new, old in zip(state.recurrent, recurrent))
    assert all(torch.equal(new, old[:, [0, 2]]) for new, old in zip(state.memory, memory))
    assert torch.equal(state.padding_mask, mask[[0, 2]])


def test_selecting_sentences_without_padding(state):
    state.padding_mask = None
    state.select(torch.tensor([2, 5]), torch.tensor([2]))
    assert state.padding_mask is None
    assert {memory.shape for memory in state.memory} == {(S, 1, C)}
