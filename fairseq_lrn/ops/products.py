"""Matrix products in float32, through the faster of the two libraries that torch carries on x86.

torch gives them to MKL, which uses AVX-512 on Intel's processors alone; oneDNN uses it on AMD's,
too. torch itself multiplies float32 by oneDNN in nn.LSTM only.

The library follows from the processor and never from a measurement: a training run that is resumed
must compute the same as one that was not interrupted.
"""

import os
from functools import cache
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_lrn.ops.cpu import cpuinfo
from fairseq_lrn.ops.dispatch import UnknownSetting, constant_in_graphs
from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.precision import matmul_dtype
from fairseq_lrn.ops.transforms import is_batched_gradient, is_transforming

PRODUCTS_VARIABLE = "FAIRSEQ_LRN_PRODUCTS"
TORCH, ONEDNN, AUTO = "torch", "onednn", "auto"
# Multiplications in a product. For a smaller one, reaching oneDNN takes longer than it saves.
MIN_MULTIPLICATIONS = 2**24
# See PackedProduct.
MIN_TIMES_TO_PACK = 4
MIN_PACKED_MULTIPLICATIONS = 2**18


class ProductLibrary(NamedTuple):
    """The library that multiplies float32 matrices on the CPU.

    Attributes:
        name: ``"torch"`` (torch chooses, on x86 MKL) or ``"onednn"``.
        reason: why it is this one.
    """

    name: str
    reason: str


@cache
def library_in_use() -> ProductLibrary:
    """The library of this process, see :func:`choose_library`; chosen on first use.

    Raises:
        UnknownSetting: see :func:`choose_library`.
    """
    return choose_library()


@constant_in_graphs  # so that a graph needs no guard that reads files
def uses_onednn() -> bool:
    """Whether :func:`library_in_use` is oneDNN."""
    return library_in_use().name == ONEDNN


def choose_library() -> ProductLibrary:
    """The library for this processor, or the one that ``FAIRSEQ_LRN_PRODUCTS`` names.

    Raises:
        UnknownSetting: the variable has an unknown value.
    """
    requested = os.environ.get(PRODUCTS_VARIABLE) or AUTO
    if requested not in (AUTO, TORCH, ONEDNN):
        raise UnknownSetting(
            f"{PRODUCTS_VARIABLE} must be {AUTO}, {TORCH} or {ONEDNN}, not {requested}"
        )
    if requested == TORCH:
        return ProductLibrary(TORCH, f"{PRODUCTS_VARIABLE}={requested}")
    if not has_onednn():
        return ProductLibrary(TORCH, "this version of torch lacks oneDNN's products")
    if requested == ONEDNN:
        return ProductLibrary(ONEDNN, f"{PRODUCTS_VARIABLE}={requested}")
    if cpuinfo("vendor_id") == "AuthenticAMD" and "avx512f" in cpuinfo("flags").split():
        return ProductLibrary(ONEDNN, "on AMD's processors, MKL does not use AVX-512")
    return ProductLibrary(TORCH, "oneDNN is faster on AMD's processors with AVX-512 only")


def has_onednn() -> bool:
    """Whether this version of torch has oneDNN's products."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )


def onednn_supports(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes in *dtype*, bfloat16 or float16, on this processor."""
    name = "bf16" if dtype == torch.bfloat16 else "fp16"
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return supported is not None and supported()


LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


def linear(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """x W^T + b, as ``torch.nn.functional.linear``, with the faster library.

    Args:
        x: ``... x C``.
        weight: ``D x C``.
        bias: ``D``.

    Returns:
        ``... x D``.
    """
    if multiplies_in_onednn(x, weight) and not is_transforming():
        return torch.ops.fairseq_lrn.linear(x, weight, bias)
    return F.linear(x, weight, bias)


def mm(a: Tensor, b: Tensor) -> Tensor:
    """The product ``N x D`` of ``N x C`` and ``C x D``, with the faster library. No gradients."""
    if multiplies_in_onednn(a, b.t()):
        return onednn_linear(a, b.t(), None)
    return torch.mm(a, b)


class PackedProduct:
    """The product x W^T with a weight that is used in many steps. It has no gradients.

    The weight is packed for oneDNN once, if it is large and used often enough.

    Args:
        weight: ``D x C``, float32 on a CPU.
        rows: number of rows of each *x*.
        times: number of products.
    """

    def __init__(self, weight: Tensor, rows: int, times: int):
        self.weight = weight.detach()
        self.is_packed = (
            times >= MIN_TIMES_TO_PACK
            and weight.numel() * rows >= MIN_PACKED_MULTIPLICATIONS
            and has_onednn()
        )
        if self.is_packed:
            self.weight = onednn_layout(self.weight, rows)

    def __call__(self, x: Tensor) -> Tensor:
        """x W^T, ``N x D`` from ``N x C``."""
        if self.is_packed:
            return onednn_linear(x, self.weight, None)
        return torch.mm(x, self.weight.t())


def multiplies_in_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`linear` multiplies by oneDNN; the arguments are those of :func:`linear`."""
    return (
        uses_onednn()
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32 == matmul_dtype(x)
        and x.numel() * weight.size(0) >= MIN_MULTIPLICATIONS
    )


def onednn_linear(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """:func:`linear` in oneDNN, whatever the library in use. It has no gradients."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def onednn_layout(weight: Tensor, rows: int) -> Tensor:
    """A weight ``D x C`` in the layout that :func:`onednn_linear` multiplies fastest.

    Args:
        weight: the weight.
        rows: a hint: the number of rows of the products.
    """
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)


def _fake(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.size(0))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fairseq_lrn.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        product = F.linear if is_batched_gradient(grad) else linear
        rows, inputs = grad.reshape(-1, grad.size(-1)), x.reshape(-1, x.size(-1))  # N x D, N x C
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            product(grad, weight.t()) if needs_x else None,
            product(rows.t(), inputs.t()) if needs_weight else None,  # D x N, C x N to D x C
            rows.sum(0) if needs_bias else None,
        )


def _autograd(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    parameters = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in parameters):
        return _Linear.apply(x, weight, bias)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.fairseq_lrn.linear(x, weight, bias)


LIBRARY.impl("linear", _fake, "Meta")
LIBRARY.impl("linear", onednn_linear, "CPU")
LIBRARY.impl("linear", _autograd, "Autograd")
