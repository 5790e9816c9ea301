"""The symbols of a dictionary, and words that are written like fairseq's special ones."""

from typing import Sequence

import torch
from fairseq.data import Dictionary

# <s>, <pad>, </s> and <unk>: no label and no word can be one of these.
SPECIAL = frozenset(Dictionary().symbols)


def word_indices(words: Sequence[str], dictionary: Dictionary) -> torch.Tensor:
    """The indices of words, ``T + 1``, with ``</s>`` at the end.

    Args:
        words: words, or labels, as the dictionary has them. One that is written like a special
            symbol, such as ``<pad>``, is unknown.
        dictionary: their dictionary.
    """
    indices = torch.tensor([*map(dictionary.index, words), dictionary.eos()])
    indices[:-1][indices[:-1] < dictionary.nspecial] = dictionary.unk()
    return indices
