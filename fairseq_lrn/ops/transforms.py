"""Transformations of functions that the fused kernels do not support."""

import torch


def is_transforming() -> bool:
    """Whether a ``torch.func`` transform, a batched gradient or forward-mode autograd is active."""
    return (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )
