"""fairseq's diverse beam search: no hypothesis goes on after its end, and rows are not mixed up."""

import inspect

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.search import DiverseBeamSearch

from fairseq_lrn.compat.diverse_beams import patch_diverse_beams


@pytest.mark.skipif(
    "candidate_multiple" not in inspect.signature(DiverseBeamSearch).parameters,
    reason="fairseq 0.12.2 always considers twice as many candidates",
)
def test_candidates():
    """As many as in plain beam search, so enough are left if some of them end."""
    patch_diverse_beams()  # applied already
    assert DiverseBeamSearch(Dictionary(), 2, 0.5).candidate_multiple == 2
    assert DiverseBeamSearch(Dictionary(), 2, 0.5, 1.0, 1).candidate_multiple == 1
    assert DiverseBeamSearch(Dictionary(), 2, 0.5, candidate_multiple=3).candidate_multiple == 3


def found(numbers, kept):
    """The candidates of the sentence in row 1, after a step in which row 0 has ended or not."""
    torch.manual_seed(1)
    beams, vocab = 4, 12
    search = DiverseBeamSearch(Dictionary(), 2, 5.0)
    first, second = torch.randn(2, 2, beams, vocab)
    scores = torch.zeros(2, beams, 1)
    numbers = torch.tensor(numbers)
    search.step(0, first.log_softmax(-1), None, None, numbers)
    result = search.step(1, second.log_softmax(-1)[kept], scores[kept], None, numbers[kept])
    return [part[-1] for part in result]


def test_numbers_of_sentences():
    """They may be any: those of a data set are not those of a batch."""
    expected = found([0, 1], [0, 1])
    for numbers, kept in (([7, 3], [0, 1]), ([1, 0], [0, 1]), ([900, 3], [1]), ([0, 1], [1])):
        for one, other in zip(found(numbers, kept), expected):
            torch.testing.assert_close(one, other)
