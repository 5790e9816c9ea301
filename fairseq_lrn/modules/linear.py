"""Affine maps whose weights can be packed for generation."""

from contextlib import contextmanager
from itertools import cycle
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_lrn.modules.dropout import dropout_mask
from fairseq_lrn.modules.fingerprint import identity, submodules
from fairseq_lrn.modules.hooks import computes_weights
from fairseq_lrn.ops import checksums, checksums_of_parts, int8_kernel, int8_linear, quantised
from fairseq_lrn.ops.cpu import has_bfloat16
from fairseq_lrn.ops.int8_linear import OUT
from fairseq_lrn.ops.products import (
    has_onednn,
    linear,
    onednn_layout,
    onednn_linear,
    onednn_supports,
)
from fairseq_lrn.ops.transforms import CAN_TELL_COMPILING, is_compiling, is_transforming


class PackedCopy(NamedTuple):
    """A packed weight, and what tells whether it is out of date.

    Attributes:
        weight: the packed weight.
        requested: the argument of :meth:`Packable.pack`.
        identity: see :func:`~fairseq_lrn.modules.fingerprint.identity`.
        sums: part after part of the weight, and its checksum; see
            :func:`~fairseq_lrn.ops.checksums`.
    """

    weight: Tensor
    requested: Optional[torch.dtype]
    identity: Tuple[int, int, int]
    sums: Iterator[Tuple[int, Tensor]]


NO_TENSOR = (0, 0, 0)  # the identity of none


class Packable:
    """A mixin for modules with a ``weight``: faster matrix products during generation.

    Generation multiplies by the same weight many times, each time with few rows. oneDNN, which is
    part of torch, can rearrange ("pack") a weight for the processor in advance. torch's ordinary
    product does not do so. It takes several times as long for the few rows of one sentence's beam,
    and 1.5 times as long for the rows of 16 sentences. With 8-bit weights, the product is this
    project's own (:func:`~fairseq_lrn.ops.int8_linear`).

    The packed weight is a copy. It is only used while gradients are disabled, and it is dropped
    when the module is trained further. :func:`repack_changed_weights` brings it up to date.
    """

    weight: Tensor
    training: bool
    _packed: Optional[PackedCopy]
    __jit_ignored_attributes__ = ["_packed"]

    def make_generation_fast_(self, **kwargs) -> None:
        """Pack the weight. fairseq calls this method before generation."""
        self.pack()

    def pack(self, dtype: Optional[torch.dtype] = None) -> None:
        """Pack the weight if it is on a CPU, and if the processor and torch support it.

        Args:
            dtype: type of the matrix products: ``torch.bfloat16``, or ``torch.int8`` for a
                float32 weight; None: the type of the weight.

        Raises:
            ValueError: the weight is not finite, so it cannot be quantised to 8 bits.
        """
        weight = self.weight.detach()
        requested, dtype = dtype, dtype or weight.dtype
        self._packed = None
        if weight.device.type != "cpu" or weight.is_inference() or not can_pack(dtype):
            return
        if computes_weights(self) or (dtype == torch.int8 and weight.dtype != torch.float32):
            return
        if dtype == torch.int8:
            packed = quantised(weight)
        else:
            packed = onednn_layout(weight.to(dtype), rows=64)
        sums = cycle(enumerate(checksums_of_parts(weight)))
        self._packed = PackedCopy(packed, requested, identity(self.weight), sums)

    def has_packed_copy(self) -> bool:
        """Whether :meth:`pack` has stored a packed weight, up to date or not."""
        return getattr(self, "_packed", None) is not None

    def train(self, mode: bool = True):
        """As in torch. Training mode drops the packed weight.

        Some optimisers change a weight without changing its version number.
        """
        if mode:
            self._packed = None
        return super().train(mode)

    def _apply(self, *args, **kwargs):
        """As in torch, for ``to``, ``double`` and the like. A copy of a former weight goes."""
        result = super()._apply(*args, **kwargs)
        packed = getattr(self, "_packed", None)
        if packed is not None and packed.identity != identity(self.weight):
            # What was requested stays: repack_changed_weights makes another copy if it can.
            # A later weight may lie at the address of the former one.
            self._packed = packed._replace(weight=torch.empty(0), identity=NO_TENSOR)
        return result

    def packed_weight(self, device_type: str = "cpu") -> Optional[Tensor]:
        """The packed weight for inputs on *device_type*; None if it is missing or unusable now."""
        packed = getattr(self, "_packed", None)
        if packed is None or device_type != "cpu" or not may_use_packed_weights():
            return None
        if computes_weights(self) or packed.identity != identity(self.weight):
            return None
        return packed.weight

    def is_packed_in(self, dtype: Optional[torch.dtype]) -> bool:
        """Whether there is a usable packed weight of type *dtype*; None: of the weight's type."""
        packed = self.packed_weight()
        return packed is not None and packed.dtype == (dtype or self.weight.dtype)

    def fastest_weight(self, may_be_padded: bool = False) -> Tensor:
        """The packed weight if it can be used on a CPU, otherwise the weight itself.

        Args:
            may_be_padded: whether an 8-bit weight may have padding, to a multiple of 16 outputs.
                Its shape then does not tell the number of outputs.
        """
        packed = self.packed_weight()
        if packed is None:
            return self.weight
        is_padded = packed.dtype == torch.int8 and self.weight.size(0) % OUT != 0
        return self.weight if is_padded and not may_be_padded else packed

    def product_dtype(self, device_type: str) -> torch.dtype:
        """The input type that :meth:`multiply` does not have to convert.

        An 8-bit product converts every input. For such a product, it is the type of the weight.

        Args:
            device_type: device of the input, e.g. ``"cpu"``.
        """
        packed = self.packed_weight(device_type)
        return self.weight.dtype if packed is None or packed.dtype == torch.int8 else packed.dtype

    def multiply(self, x: Tensor, bias: Optional[Tensor]) -> Tensor:
        """x W^T + b, ``... x D``, of *x*, ``... x C``, in the type of *x*; *bias* is ``D``."""
        if not torch.jit.is_scripting():
            weight = self.packed_weight(x.device.type)
            if weight is not None and weight.dtype == torch.int8:
                supported = x if x.dtype in (torch.float32, torch.bfloat16) else x.float()
                return int8_linear(supported, weight, self.weight.size(0), bias).to(x.dtype)
            if weight is not None:
                return _packed_product(x, weight, bias).to(x.dtype)
            return linear(x, self.current_weight(), bias)
        return F.linear(x, self.weight, bias)

    def current_weight(self) -> Tensor:
        """The weight, with the elements set to zero that :func:`dropped_weights` chose."""
        if not torch.jit.is_scripting():
            dropped = self.__dict__.get("_dropped")
            if dropped is not None:
                return dropped
        return self.weight

    def __getstate__(self) -> Dict[str, Any]:
        # A packed weight can be neither copied nor saved.
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def repack_changed_weights(module: nn.Module) -> None:
    """Pack those weights in *module* again that have changed since they were packed.

    Code that averages weights often writes into ``parameter.data``, of which torch keeps no record.
    So this reads a part of every packed weight, each time another one. It notices every change of
    whole rows, and practically every change of whole columns or of many elements. A change of a
    single element of a large weight can stay unnoticed in up to 15 calls. Encoders and decoders
    call it once for each batch of sentences.
    """
    if module.training or not may_use_packed_weights():
        return
    unchanged = []
    for part in (module, *submodules(module)):
        packed = part.__dict__.get("_packed")
        if packed is None or not isinstance(part, Packable):
            continue
        if packed.identity == identity(part.weight):
            unchanged.append((part, packed))
        else:
            part.pack(packed.requested)
    expected = [next(packed.sums) for _, packed in unchanged]
    now = checksums([part.weight for part, _ in unchanged], [which for which, _ in expected])
    for (part, packed), (_, sums), sums_now in zip(unchanged, expected, now):
        if not torch.equal(sums, sums_now):
            part.pack(packed.requested)


@contextmanager
def dropped_weights(modules: Sequence["Packable"], p: float) -> Iterator[None]:
    """DropConnect: inside of the context, the maps *modules* miss elements of their weights.

    One mask is drawn for each weight, so all time steps of a sequence share it.

    Args:
        modules: the maps.
        p: probability of dropping an element; the others are scaled by 1 / (1 - p).

    Source: Wan et al. (2013); for recurrent networks Merity et al. (2018), section 2.
    """
    try:
        for module in modules if p > 0.0 else ():
            module.__dict__["_dropped"] = module.weight * dropout_mask(module.weight, p)
        yield
    finally:
        for module in modules:
            module.__dict__.pop("_dropped", None)


def may_use_packed_weights() -> bool:
    """Whether nothing needs the operators of the modules: no gradient, no tracing, no transform."""
    return not (
        torch.is_grad_enabled() or is_compiling() or torch.jit.is_tracing() or is_transforming()
    )


def kernel_rows(rows: int) -> int:
    """The number of rows to which a bfloat16 product of *rows* rows is padded.

    oneDNN generates a kernel for each number of rows. On processors with tile registers, this takes
    milliseconds, and the number of rows shrinks one by one as sentences finish in beam search. The
    function of the same name in ``ops/csrc/common/products.h`` must agree.
    """
    multiple = 1 if rows <= 16 else 16 if rows <= 128 else 64
    return -(-rows // multiple) * multiple


def can_pack(dtype: torch.dtype) -> bool:
    """Whether weights can be packed for products in *dtype* with this processor and torch."""
    if dtype == torch.int8:
        return int8_kernel() != ""
    # packed_weight must know whether torch.compile is tracing.
    if not (has_onednn() and CAN_TELL_COMPILING):
        return False
    if dtype == torch.bfloat16:
        return onednn_supports(dtype) and has_bfloat16()
    return dtype == torch.float32


def _packed_product(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """x W^T + b, ``... x D`` from ``... x C``, in the type of the packed *weight*."""
    if bias is not None:
        bias = bias.to(weight.dtype)
    rows = x.numel() // x.size(-1)
    if weight.dtype == torch.float32 or kernel_rows(rows) == rows:
        return onednn_linear(x.to(weight.dtype), weight, bias)
    padded = x.new_empty(kernel_rows(rows), x.size(-1), dtype=weight.dtype)
    padded[:rows] = x.reshape(rows, -1)  # ... x C to N x C
    # N x D to ... x D
    return onednn_linear(padded, weight, bias)[:rows].view(*x.shape[:-1], -1)


class Linear(Packable, nn.Linear):
    """``torch.nn.Linear`` whose weight can be packed for generation."""

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b, ``... x D``, of *x*, ``... x C``."""
        return self.multiply(x, self.bias)
