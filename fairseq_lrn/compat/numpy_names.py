"""With numpy 2, fairseq (0.12.3) dies where it reads ``numpy.compat.long``, which is gone.

That is in two places: blocks of whole sentences (``--sample-break-mode eos``), which generating
with a language model needs, and batches whose sizes are fixed. The patch gives these two modules a
``numpy`` that still has the name. numpy itself stays as it is.
"""

from types import SimpleNamespace
from typing import Any

import numpy


class _Numpy:
    """numpy, with the names that fairseq misses."""

    compat = SimpleNamespace(long=int)

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy, name)


def patch_numpy_names() -> None:
    """Let fairseq find ``numpy.compat.long``."""
    from fairseq.data import language_pair_dataset, token_block_dataset

    for module in (token_block_dataset, language_pair_dataset):
        if not hasattr(module.np, "compat"):
            module.np = _Numpy()
