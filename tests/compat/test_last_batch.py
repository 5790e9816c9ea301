"""Every sentence is in a batch."""

import numpy as np
import pytest
from fairseq.data import data_utils

from fairseq_lrn.compat.last_batch import patch_last_batch


@pytest.mark.parametrize(
    "count, sizes", [(0, []), (3, [3]), (8, [8]), (16, [8, 8]), (19, [8, 8, 3])]
)
@pytest.mark.parametrize("form", [np.arange, range])
@pytest.mark.parametrize("has_lengths", [False, True])
def test_batches(count, sizes, form, has_lengths):
    patch_last_batch()  # applied already
    lengths = np.full(count, 5) if has_lengths else None
    batches = data_utils.batch_by_size(
        form(count), lambda index: 5, lengths, max_sentences=8, required_batch_size_multiple=8
    )
    assert [len(batch) for batch in batches] == sizes
    assert [int(index) for batch in batches for index in batch] == list(range(count))


def test_fixed_shapes():
    arguments = np.arange(5), lambda index: 3
    shapes = np.array([[2, 4]])
    expected = data_utils.batch_by_size.__wrapped__(*arguments, fixed_shapes=shapes)
    found = data_utils.batch_by_size(*arguments, fixed_shapes=shapes)
    assert [list(batch) for batch in found] == [list(batch) for batch in expected]


def test_the_longest_sentences():
    """They are the last batch, which is smaller because it has more tokens."""
    lengths = np.array([*8 * [2], 20, 20, 20])
    batches = data_utils.batch_by_size(
        np.arange(11), lengths.__getitem__, lengths, max_tokens=60, required_batch_size_multiple=8
    )
    assert [list(batch) for batch in batches] == [[*range(8)], [8, 9, 10]]
