"""Checksums of tensors' memory, to notice changes of which torch keeps no record."""

from functools import cache
from typing import List, Sequence

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

LIBRARY.define("checksums(Tensor[] tensors) -> Tensor")


def checksums(weights: Sequence[Tensor]) -> List[Tensor]:
    """For each matrix, numbers that are different for different contents.

    Any change of a single element changes them. The C++ kernel takes about as long as reading the
    memory; without it, they are a sum of each row in which the columns count differently.

    Args:
        weights: ``D x C`` each, on a CPU.

    Returns:
        a vector for each matrix. Only equality with another result for a tensor of this shape has a
        meaning.
    """
    if not weights:  # of a model on a GPU, for which no CPU kernel must be loaded
        return []
    weights = [weight.detach() for weight in weights]
    has_kernel = dispatch.choose("cpu") == "cpp"
    fused = [weight for weight in weights if has_kernel and weight.is_contiguous()]
    sums = iter(torch.ops.fairseq_lrn.checksums(fused) if fused else [])
    return [
        next(sums) if has_kernel and weight.is_contiguous() else _weighted_row_sums(weight)
        for weight in weights
    ]


def _weighted_row_sums(weight: Tensor) -> Tensor:
    # Sums of integers, modulo 2^64, do not depend on their order, and so on the number of threads.
    bits = weight.view(INTEGERS[weight.element_size()]).to(torch.int64)
    return (bits * _column_factors(weight.size(1))).sum(1)


@cache
def _column_factors(count: int) -> Tensor:
    return torch.arange(1, 2 * count, 2, device="cpu")  # odd: a change times a factor is not 0
