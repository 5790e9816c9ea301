"""Checksums of tensors' memory, to notice changes of which torch keeps no record."""

from functools import cache
from typing import List, Sequence

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

PARTS = 16  # kParts in csrc/checksum/checksum.cpp

LIBRARY.define("checksums(Tensor[] tensors, int[] parts) -> Tensor")


def checksums(weights: Sequence[Tensor], parts: Sequence[int]) -> List[Tensor]:
    """For each matrix, numbers that change with its contents.

    One matrix has ``PARTS`` parts, which together contain every element. The numbers of one part
    change if any element of it changes. All parts change if a whole row changes, and practically
    all do if a column changes or many elements. A part of a matrix with long rows is a sixteenth of
    it, in pieces of 64 bytes. With rows of less than 256 bytes, each part is the whole matrix. The
    C++ kernel takes about as long as reading the part from memory. Without it, each part is the
    whole matrix; a number is then a sum of a row in which the columns count differently.

    Args:
        weights: ``D x C`` each, on a CPU.
        parts: for each matrix, which part to read, from 0 to ``PARTS - 1``.

    Returns:
        a vector for each matrix. Only equality with another result for the same part of a tensor of
        this shape has a meaning.
    """
    if not weights:  # of a model on a GPU, for which no CPU kernel must be loaded
        return []
    weights = [weight.detach() for weight in weights]
    fused = [i for i, weight in enumerate(weights) if _is_fused(weight)]
    sums = {}
    if fused:
        found = torch.ops.fairseq_lrn.checksums(
            [weights[i] for i in fused], [parts[i] for i in fused]
        )
        sums = dict(zip(fused, found))
    return [
        sums[i] if i in sums else _weighted_row_sums(weight) for i, weight in enumerate(weights)
    ]


def checksums_of_parts(weight: Tensor) -> List[Tensor]:
    """The checksums of all parts of a matrix, see :func:`checksums`.

    Args:
        weight: ``D x C``, on a CPU.

    Returns:
        a vector for each part; a single one if each part is the whole matrix because the C++ kernel
        cannot be used.
    """
    return [checksums([weight], [part])[0] for part in range(PARTS if _is_fused(weight) else 1)]


def _is_fused(weight: Tensor) -> bool:
    try:
        is_loaded = dispatch.choose("cpu") == "cpp"
    except dispatch.UnavailableBackend:  # one for GPUs, where a model prepared here may go next
        return False
    return is_loaded and weight.is_contiguous()


def _weighted_row_sums(weight: Tensor) -> Tensor:
    # Sums of integers, modulo 2^64, do not depend on their order, and so on the number of threads.
    bits = weight.view(INTEGERS[weight.element_size()]).to(torch.int64)
    return (bits * _column_factors(weight.size(1))).sum(1)


@cache
def _column_factors(count: int) -> Tensor:
    return torch.arange(1, 2 * count, 2, device="cpu")  # odd: a change times a factor is not 0
