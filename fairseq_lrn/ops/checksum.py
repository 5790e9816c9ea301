"""A checksum of a tensor's memory, to notice changes of which torch keeps no record."""

from functools import cache

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY

LIBRARY.define("checksum(Tensor tensor) -> Tensor")


def checksum(weight: Tensor) -> Tensor:
    """Numbers that are different for different contents of a matrix.

    With the C++ kernels, any change of a single element changes them, at about the speed of memory.
    Otherwise they are a sum of each row in which the columns count differently.

    Args:
        weight: ``D x C``, on a CPU.

    Returns:
        a vector. Only equality with another result for a tensor of this shape has a meaning.
    """
    weight = weight.detach()
    if weight.is_contiguous() and dispatch.choose("cpu") == "cpp":
        return torch.ops.fairseq_lrn.checksum(weight)
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return torch.mv(weight, _column_factors(weight.size(1), weight.dtype))


@cache
def _column_factors(count: int, dtype: torch.dtype) -> Tensor:
    return torch.linspace(1, 2, count, dtype=dtype, device="cpu")
