"""Checksums of tensors' memory, to notice changes of which torch keeps no record."""

from functools import cache
from typing import List, Sequence

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY

LIBRARY.define("checksums(Tensor[] tensors) -> Tensor")


def checksums(weights: Sequence[Tensor]) -> List[Tensor]:
    """For each matrix, numbers that are different for different contents.

    With the C++ kernels, any change of a single element changes them, at about the speed of memory.
    Otherwise they are a sum of each row in which the columns count differently.

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
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return torch.mv(weight, _column_factors(weight.size(1), weight.dtype))


@cache
def _column_factors(count: int, dtype: torch.dtype) -> Tensor:
    return torch.linspace(1, 2, count, dtype=dtype, device="cpu")
