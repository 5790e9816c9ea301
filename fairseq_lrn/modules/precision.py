"""The data type in which a model multiplies in generation."""

from typing import Iterable

import torch
from torch import nn

from fairseq_lrn.modules.linear import Packable, can_pack

MATMUL_DTYPES = ("float32", "bfloat16", "int8")
REQUIREMENTS = {
    "bfloat16": "neither this processor nor this version of torch has bfloat16 matrix products",
    "int8": "it needs a processor with Intel AMX, and the C++ kernels (python -m fairseq_lrn.ops)",
}


def set_matmul_dtype(models: Iterable[nn.Module], name: str) -> str:
    """Use the type *name* for the models' matrix products in generation, if that is possible.

    Otherwise the models multiply in the type of their weights. If several generators share a
    model, the last call decides.

    Args:
        models: models whose :class:`~fairseq_lrn.modules.linear.Packable` parts are packed.
        name: one of :data:`MATMUL_DTYPES`.

    Returns:
        why the type is unavailable, or an empty string.

    Raises:
        ValueError: a weight is not finite, so it cannot be quantised to 8 bits.
    """
    models = list(models)
    parts = [part for model in models for part in model.modules() if isinstance(part, Packable)]
    dtype = None
    reason = "" if name == "float32" else _unavailable_reason(models, parts, name)
    if name == "float32" or reason:
        # Undo what an earlier call packed in fewer bits.
        parts = [part for part in parts if getattr(part, "_packed", None) is not None]
    else:
        dtype = getattr(torch, name)
    with torch.no_grad():
        for part in parts:
            if not part.is_packed_in(dtype):
                part.pack(dtype)
    return reason


def _unavailable_reason(models: list, parts: list, name: str) -> str:
    if models and not parts:
        return "only models of fairseq_lrn support it"
    if any(part.weight.device.type != "cpu" for part in parts):
        return "only CPUs support it (on a GPU, fairseq-generate has --fp16)"
    if name == "int8" and any(part.weight.dtype != torch.float32 for part in parts):
        return "it needs weights in float32"
    if not can_pack(getattr(torch, name)):
        return REQUIREMENTS[name]
    return ""
