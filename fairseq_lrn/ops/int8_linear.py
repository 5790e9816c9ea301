"""Affine maps in 8 bits on processors with tiles (Intel AMX), for generation.

A step of beam search multiplies by every weight of the decoder. With few rows that takes as long as
reading them, so that 8 bits take a quarter of the time of 32; with many, tiles multiply twice as
many numbers of 8 bits as of bfloat16.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.lrn_scan.autograd import LIBRARY

LIBRARY.define("has_int8_tiles(Tensor tensor) -> bool")
LIBRARY.define("int8_linear(Tensor x, Tensor panels, int out, Tensor? bias) -> Tensor")
# Outputs of a panel, and inputs of a tile.
OUT, IN = 16, 64


def has_int8_tiles() -> bool:
    """Whether :func:`int8_linear` can compute here: there is no reference."""
    try:
        is_loaded = dispatch.choose("cpu") == "cpp"
    except RuntimeError:  # a backend was demanded that the CPU does not have
        return False
    return is_loaded and torch.ops.fairseq_lrn.has_int8_tiles(torch.empty(0, device="cpu"))


def quantised(weight: Tensor) -> Tensor:
    """A weight in 8 bits, laid out for :func:`int8_linear`.

    Each output has a scale of its own: that of its largest weight, which becomes 127. A panel has
    16 outputs: the weights in fours, ``C/4 x 16 x 4``, then the scales, as bytes. Before, both
    sizes are filled up with zeros, D to a multiple of 16 and C to one of 64.

    Args:
        weight: ``D x C``, of float32.

    Returns:
        panels ``D/16 x (16 C + 64)``, of int8.

    Raises:
        ValueError: a weight is not finite.
    """
    if not bool(weight.isfinite().all()):
        raise ValueError(
            "the weights are not finite, so they cannot be in 8 bits: is the checkpoint damaged, "
            "or was its training unstable?"
        )
    out, size = weight.shape
    scales = weight.abs().amax(1, keepdim=True) / 127
    integers = (weight / scales.clamp(min=torch.finfo(torch.float32).tiny)).round()
    padded = F.pad(integers.to(torch.int8), (0, -size % IN, 0, -out % OUT))
    tiles = padded.view(-1, OUT, padded.size(1) // 4, 4).transpose(1, 2).flatten(1)
    of_panels = F.pad(scales, (0, 0, 0, -out % OUT)).view(-1, OUT)
    return torch.cat([tiles, of_panels.contiguous().view(torch.int8)], dim=1)


def int8_linear(x: Tensor, panels: Tensor, out: int, bias: Optional[Tensor] = None) -> Tensor:
    """x W^T + b in 8 bits, with exact sums. No gradients.

    A row of x has a scale of its own: that of its largest number. Rows that are not finite give
    NaN.

    Args:
        x: ``... x C``, of float32 or bfloat16, C from 1 to 100,000.
        panels: the weight, from :func:`quantised`.
        out: its outputs D.
        bias: ``D``, of float32.

    Returns:
        ``... x D``, of the type of *x*.

    Raises:
        RuntimeError: shapes do not fit, the processor has no tiles, or there are no C++ kernels.
    """
    if dispatch.choose("cpu") != "cpp":
        raise RuntimeError("int8_linear needs the C++ kernels: see python -m fairseq_lrn.ops")
    rows = x.unsqueeze(0).flatten(0, -2)
    return torch.ops.fairseq_lrn.int8_linear(rows, panels, out, bias).view(*x.shape[:-1], out)
