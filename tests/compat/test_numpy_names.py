"""fairseq's blocks of whole sentences, which read a name that numpy 2 does not have."""

import numpy as np
import torch
from fairseq.data import TokenBlockDataset, language_pair_dataset, token_block_dataset

from fairseq_lrn.compat.numpy_names import patch_numpy_names


def test_blocks_of_sentences():
    lines = [torch.tensor([5, 6, 2]), torch.tensor([7, 2])]
    blocks = TokenBlockDataset(lines, [3, 2], None, pad=1, eos=2, break_mode="eos")
    assert [block.tolist() for block in blocks] == [[5, 6, 2], [7, 2]]


def test_numpy_itself_is_not_changed():
    before = token_block_dataset.np
    patch_numpy_names()  # applied already
    assert token_block_dataset.np is before
    assert before.array is np.array and language_pair_dataset.np.compat.long is int
    assert hasattr(np, "compat") == (np.__version__ < "2")
