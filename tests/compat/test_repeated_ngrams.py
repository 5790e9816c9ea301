"""No n-gram is repeated, wherever a hypothesis is in its buffer."""

import math

import pytest
import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock

from fairseq_lrn.compat.repeated_ngrams import patch_repeated_ngrams

EOS, PAD = 2, 1


HISTORIES = [[EOS, 5, 6, 7, 5, 6], [EOS, 5, 5, 5, 8, 5]]


@pytest.mark.parametrize(
    "size, forbidden",
    [
        (1, [{5, 6, 7}, {5, 8}]),
        (2, [{7}, {5, 8}]),
        (3, [{7}, set()]),
        (4, [set(), set()]),
        (9, [set(), set()]),
    ],
)
def test_forbidden_tokens(size, forbidden):
    patch_repeated_ngrams()  # applied already
    tokens = torch.full((2, 30), PAD)
    tokens[:, :6] = torch.tensor(HISTORIES)
    block = NGramRepeatBlock(size, use_extension=False)
    scores = block(tokens, torch.zeros(2, 10), bsz=1, beam_size=2, step=5)
    assert [set(row.eq(-math.inf).nonzero()[:, 0].tolist()) for row in scores] == forbidden


def test_first_step():
    tokens = torch.tensor([[EOS, PAD, PAD]])
    for size in (1, 2):
        scores = NGramRepeatBlock(size, use_extension=False)(tokens, torch.zeros(1, 4), 1, 1, 0)
        assert scores.eq(0).all()
