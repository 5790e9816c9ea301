"""Affine maps in 8 bits for generation, on x86 processors with AVX2 or later instructions.

A step of beam search multiplies by every weight of the decoder. With few rows, the time is that of
reading the weights, so 8 bits take a quarter of the time of 32 bits. With many rows, instructions
for 8-bit integers (VNNI, and the tile registers of AMX) multiply several times as many numbers per
second as those for float32.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY

LIBRARY.define("int8_kernel() -> str")
LIBRARY.define("int8_linear(Tensor x, Tensor panels, int out, Tensor? bias) -> Tensor")
# Number of outputs in a panel, and of inputs in a tile.
OUT, IN = 16, 64


def int8_kernel() -> str:
    """The instructions that :func:`int8_linear` uses on this processor, e.g. ``"AVX2"``.

    The string is empty if it works on none of this processor's instructions, or if the C++ kernels
    are unavailable: there is no reference implementation.
    """
    try:
        is_loaded = dispatch.choose("cpu") == "cpp"
    except dispatch.UnavailableBackend:  # the requested backend does not exist for CPUs
        return ""
    return torch.ops.fairseq_lrn.int8_kernel() if is_loaded else ""


def quantised(weight: Tensor) -> Tensor:
    """Quantise a weight to 8 bits, in the memory layout of :func:`int8_linear`.

    Each output has its own scale, which maps its largest absolute weight to 127. Both sizes are
    padded with zeros, D to a multiple of 16 and C to a multiple of 64. A panel holds 16 outputs:
    first their weights in groups of four, ``C/4 x 16 x 4``, then as bytes their scales (float32)
    and the sums of their weights (int32).

    Args:
        weight: ``D x C``, float32.

    Returns:
        panels, ``D/16 x (16 C + 128)``, int8.

    Raises:
        ValueError: a weight is not finite.
    """
    if not bool(weight.isfinite().all()):
        raise ValueError(
            "the weights are not finite, so they cannot be quantised to 8 bits: is the checkpoint "
            "damaged, or was its training run unstable?"
        )
    out, size = weight.shape
    scales = weight.abs().amax(1, keepdim=True) / 127
    integers = (weight / scales.clamp(min=torch.finfo(torch.float32).tiny)).round()
    padded = F.pad(integers.to(torch.int8), (0, -size % IN, 0, -out % OUT))
    # D/16 x 16 x C/4 x 4 to D/16 x C/4 x 16 x 4 to D/16 x 16C
    tiles = padded.view(-1, OUT, padded.size(1) // 4, 4).transpose(1, 2).flatten(1)
    panel_scales = F.pad(scales, (0, 0, 0, -out % OUT)).view(-1, OUT)  # D/16 x 16
    sums = padded.sum(1, dtype=torch.int32).view(-1, OUT)  # D/16 x 16
    tail = [part.contiguous().view(torch.int8) for part in (panel_scales, sums)]
    return torch.cat([tiles, *tail], dim=1)


def int8_linear(x: Tensor, panels: Tensor, out: int, bias: Optional[Tensor] = None) -> Tensor:
    """Compute x W^T + b in 8 bits, with exact integer sums. It has no gradients.

    Each row of x is quantised with its own scale. Rows that are not finite give NaN.

    Args:
        x: ``... x C``, float32 or bfloat16, C from 1 to 100,000.
        panels: the weight, from :func:`quantised`.
        out: the number D of outputs.
        bias: ``D``, float32.

    Returns:
        ``... x D``, in the type of *x*.

    Raises:
        RuntimeError: shapes do not fit, the processor has no AVX2, or the C++ kernels are
            unavailable.
    """
    dispatch.require_cpp("int8_linear")
    rows = x.unsqueeze(0).flatten(0, -2)  # N x C
    return torch.ops.fairseq_lrn.int8_linear(rows, panels, out, bias).view(*x.shape[:-1], out)
