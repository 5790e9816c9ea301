"""Affine maps whose weights are laid out for generation."""

from typing import Any, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_lrn.ops import has_int8_tiles, int8_linear, quantised
from fairseq_lrn.ops.cpu import has_bfloat16
from fairseq_lrn.ops.int8_linear import OUT


class Packable:
    """What a module with a ``weight`` needs to multiply with it faster in generation.

    In generation a weight is used over and over with few rows. oneDNN, which comes with torch,
    lays it out once for the processor; the general product does not pay for it, takes several
    times as long for the few rows of one sentence's beam, and half as long again for those of
    sixteen. In 8 bits the product is our own (:func:`~fairseq_lrn.ops.int8_linear`). The packed
    weight is a copy. It is used without gradients only, and dropped when the module is trained on.
    """

    weight: Tensor
    training: bool
    __jit_ignored_attributes__ = ["_packed", "_packed_of"]

    def make_generation_fast_(self, **kwargs) -> None:
        """Called by fairseq before generation."""
        self.pack()

    def pack(self, dtype: Optional[torch.dtype] = None) -> None:
        """Lay out the weight, if it is on a CPU and this torch can with this processor.

        Args:
            dtype: multiply in that type, ``torch.bfloat16`` or, if the weight is of float32,
                ``torch.int8``; None: in the weight's.

        Raises:
            ValueError: a weight that is to be in 8 bits is not finite.
        """
        weight = self.weight.detach()
        dtype = dtype or weight.dtype
        self._packed = None
        if weight.device.type != "cpu" or weight.is_inference() or not can_pack(dtype):
            return
        if dtype != torch.int8:
            # The number is a hint: rows that the layout is good for.
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), 64)
        elif weight.dtype == torch.float32:
            self._packed = quantised(weight)
        self._packed_of = self._identity()

    def train(self, mode: bool = True):
        """As in torch. Training changes the weight, and optimisers may do it unnoticed."""
        if mode:
            self._packed = None
        return super().train(mode)

    def _identity(self) -> Tuple[int, int]:
        """What changes when the weight does, but for changes of its ``data`` in place."""
        return self.weight.data_ptr(), self.weight._version

    def packed_weight(self, device_type: str = "cpu") -> Optional[Tensor]:
        """The packed weight; None where it is not there or not to be used."""
        packed = getattr(self, "_packed", None)
        if (
            packed is None
            or device_type != "cpu"
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()
        ):
            return None
        return packed if self._packed_of == self._identity() else None

    def is_packed_in(self, dtype: Optional[torch.dtype]) -> bool:
        """Whether there is a packed weight of that type, or the weight's own, to use on a CPU."""
        packed = self.packed_weight()
        return packed is not None and packed.dtype == (dtype or self.weight.dtype)

    def fastest_weight(self) -> Tensor:
        """The packed weight, if it may be used on a CPU, or else the weight.

        Not one in 8 bits that was filled up with outputs, which does not say how many are its own.
        """
        packed = self.packed_weight()
        if packed is None or (packed.dtype == torch.int8 and self.weight.size(0) % OUT != 0):
            return self.weight
        return packed

    def product_dtype(self, device_type: str) -> torch.dtype:
        """The type of the products, input of which is not converted; in 8 bits it always is."""
        packed = self.packed_weight(device_type)
        return self.weight.dtype if packed is None or packed.dtype == torch.int8 else packed.dtype

    def multiply(self, x: Tensor, bias: Optional[Tensor]) -> Tensor:
        """x W^T + b, from ``... x C`` to ``... x D``."""
        if not torch.jit.is_scripting():
            weight = self.packed_weight(x.device.type)
            if weight is not None and weight.dtype == torch.int8:
                known = x if x.dtype in (torch.float32, torch.bfloat16) else x.float()
                return int8_linear(known, weight, self.weight.size(0), bias).to(x.dtype)
            if weight is not None:
                return _packed_product(x, weight, bias).to(x.dtype)
        return F.linear(x, self.weight, bias)

    def __getstate__(self) -> Dict[str, Any]:
        # What is packed cannot be copied or saved.
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def kernel_rows(rows: int) -> int:
    """How many rows are multiplied in bfloat16 for so many.

    oneDNN makes a kernel for each number that it meets, which takes milliseconds where the
    processor multiplies in tiles; in beam search every number below the first occurs. Also in
    csrc/decoder_step.cpp.
    """
    multiple = 1 if rows <= 16 else 16 if rows <= 128 else 64
    return -(-rows // multiple) * multiple


def can_pack(dtype: torch.dtype) -> bool:
    """Whether weights can be laid out for products of that type here."""
    if dtype == torch.int8:
        return has_int8_tiles()
    if not (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        # From torch 2.3 on; older ones do not say when a weight is not to be replaced.
        and hasattr(torch.compiler, "is_compiling")
    ):
        return False
    if dtype == torch.bfloat16:
        supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return supported is not None and supported() and has_bfloat16()
    return dtype == torch.float32


def _packed_product(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """x W^T + b, in the type of the packed weight."""
    product = torch.ops.mkldnn._linear_pointwise
    if bias is not None:
        bias = bias.to(weight.dtype)
    rows = x.numel() // x.size(-1)
    if weight.dtype == torch.float32 or kernel_rows(rows) == rows:
        return product(x.to(weight.dtype), weight, bias, "none", [], "")
    padded = x.new_empty(kernel_rows(rows), x.size(-1), dtype=weight.dtype)
    padded[:rows] = x.reshape(rows, -1)
    return product(padded, weight, bias, "none", [], "")[:rows].view(*x.shape[:-1], -1)


class Linear(Packable, nn.Linear):
    """``torch.nn.Linear``, faster in generation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(x, self.bias)
