"""The data type of matrix products during generation."""

from typing import Iterable, List

import torch
from torch import nn

from fairseq_lrn.modules.linear import Packable, can_pack

MATMUL_DTYPES = ("float32", "bfloat16", "int8")
# Why a processor or an installation may not support a type.
REQUIREMENTS = {
    "bfloat16": "this processor or this version of torch has no bfloat16 matrix products",
    "int8": "it needs an x86 processor with AVX2, and the C++ kernels (python -m fairseq_lrn.ops)",
}


def set_matmul_dtype(models: Iterable[nn.Module], name: str) -> str:
    """Use the type *name* for matrix products during generation, if it is available.

    If it is unavailable, the models multiply in the type of their weights. If several generators
    share a model, the last call decides.

    Args:
        models: the models. The call packs those of their modules that are
            :class:`~fairseq_lrn.modules.linear.Packable`.
        name: one of :data:`MATMUL_DTYPES`.

    Returns:
        the reason why the type is unavailable, or an empty string.

    Raises:
        ValueError: *name* is unknown, or a weight is not finite, so it cannot be quantised to 8
            bits.
    """
    if name not in MATMUL_DTYPES:
        raise ValueError(f"the data type must be one of {MATMUL_DTYPES}, not {name!r}")
    models = list(models)
    parts = [part for model in models for part in model.modules() if isinstance(part, Packable)]
    reason = "" if name == "float32" else _unavailable_reason(models, parts, name)
    if name == "float32" or reason:
        dtype = None  # the type of the weights
        parts = [part for part in parts if part.has_packed_copy()]  # of an earlier call
    else:
        dtype = getattr(torch, name)
    with torch.no_grad():
        for part in parts:
            if not part.is_packed_in(dtype):
                part.pack(dtype)
    return reason


def _unavailable_reason(models: List[nn.Module], parts: List[Packable], name: str) -> str:
    if models and not parts:
        return "only models of fairseq_lrn support it"
    if any(part.weight.device.type != "cpu" for part in parts):
        return "only CPUs support it (on a GPU, fairseq-generate has --fp16)"
    if name == "int8" and any(part.weight.dtype != torch.float32 for part in parts):
        return "it needs float32 weights"
    if not can_pack(getattr(torch, name)):
        return REQUIREMENTS[name]
    return ""
