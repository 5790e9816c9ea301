"""Transformations of functions that the fused kernels do not support."""

from typing import Optional

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch


def is_transforming() -> bool:
    """Whether a ``torch.func`` transform or forward-mode autograd is active."""
    return (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


# Before torch 2.3, code cannot tell whether torch.compile is tracing it.
CAN_TELL_COMPILING = hasattr(torch.compiler, "is_compiling")


def is_compiling() -> bool:
    """Whether ``torch.compile`` is tracing; before torch 2.3 always False."""
    return CAN_TELL_COMPILING and torch.compiler.is_compiling()


def is_batched_gradient(grad: Tensor) -> bool:
    """Whether *grad* stands for many gradients: ``is_grads_batched``, or a vectorised Jacobian."""
    return torch._C._dispatch_keys(grad).has(torch._C._dispatch_key_parse("Batched"))


def check_that_reference_may_replace(requested: Optional[str]) -> None:
    """Refuse a backend that was asked for by name, while a transform is active.

    Args:
        requested: the argument *backend* of a call; None to follow the environment variable.

    Raises:
        RuntimeError: another backend than the reference was asked for.
    """
    name = dispatch.requested_name(requested)
    if name not in ("auto", dispatch.REFERENCE):
        raise RuntimeError(
            f"the backend {name} supports neither torch.func nor forward-mode derivatives; choose "
            f"backend='reference' (or set {dispatch.BACKEND_VARIABLE}=reference or auto)"
        )
