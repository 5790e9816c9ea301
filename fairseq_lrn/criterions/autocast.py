"""The option ``--autocast``, which several criterions have."""

import contextlib
from typing import Any, ContextManager

import torch
from torch import nn

from fairseq_lrn.ops.cpu import keep_onednn_kernels

AUTOCAST_TYPES = ("none", "bfloat16")
AUTOCAST_HELP = (
    "bfloat16: matrix products in training use bfloat16 (torch's autocast); parameters, recurrence "
    "and loss stay in float32"
)


def checked_autocast(value: Any) -> str:
    """The value of the option, after what the type needs is set up.

    Raises:
        ValueError: it is not one of :data:`AUTOCAST_TYPES`.
    """
    if str(value) not in AUTOCAST_TYPES:
        raise ValueError(f"--autocast must be one of {AUTOCAST_TYPES}, not {value}")
    if str(value) != "none":
        keep_onednn_kernels()
    return str(value)


def training_precision(
    autocast: str, model: nn.Module, device: torch.device
) -> ContextManager[Any]:
    """A context in which matrix products have the type of the option, if the model is trained.

    Args:
        autocast: a result of :func:`checked_autocast`.
        model: the model.
        device: its device.

    Raises:
        ValueError: the model is trained in float16.
    """
    # Not torch.autocast(enabled=False): it would turn off the autocast of fairseq's --amp.
    if autocast == "none" or not model.training:
        return contextlib.nullcontext()
    if any(parameter.dtype == torch.float16 for parameter in model.parameters()):
        raise ValueError("--autocast bfloat16 conflicts with --fp16: leave one out")
    return torch.autocast(device.type, torch.bfloat16)
