"""fairseq-fixed (0.12.3.1) leaves sentences out of training, validation and generation.

fairseq makes batch sizes a multiple of ``--required-batch-size-multiple``, by default 8. The
sentences that remain, the longest ones, are the last batch. This version drops it, and fails if
there are no sentences at all. The patch keeps it, as fairseq 0.12.2 does.
"""

import numpy as np

from fairseq_lrn.compat.patching import patch


def patch_last_batch() -> None:
    """Let fairseq put every sentence into a batch."""
    from fairseq.data import data_utils

    def build(original):
        def batch_by_size(indices, *args, fixed_shapes=None, **kwargs):
            if fixed_shapes is not None:  # then fairseq drops nothing
                return original(indices, *args, fixed_shapes=fixed_shapes, **kwargs)
            if not isinstance(indices, np.ndarray):
                indices = np.fromiter(indices, dtype=np.int64, count=-1)
            if len(indices) == 0:
                return []
            batches = list(original(indices, *args, **kwargs))
            taken = sum(map(len, batches))
            return batches if taken == len(indices) else [*batches, indices[taken:]]

        return batch_by_size

    patch(data_utils, "batch_by_size", build)
