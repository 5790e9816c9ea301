"""Data types of matrix products and of running sums."""

import torch
from torch import Tensor


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The type in which torch multiplies *x* by a matrix: autocast's type, or that of *x*."""
    device_type = x.device.type
    if x.dtype == torch.float64 or device_type == "meta":  # autocast leaves them as they are
        return x.dtype
    if not hasattr(torch, "get_autocast_dtype"):  # torch < 2.4
        name = "gpu" if device_type == "cuda" else device_type
        enabled = torch.is_autocast_enabled() if name == "gpu" else torch.is_autocast_cpu_enabled()
        return getattr(torch, f"get_autocast_{name}_dtype")() if enabled else x.dtype
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return x.dtype


def is_half(tensor: Tensor) -> bool:
    """Whether *tensor* is float16 or bfloat16."""
    return tensor.dtype in (torch.float16, torch.bfloat16)


def state_dtype(kqv: Tensor) -> torch.dtype:
    """The type of the running state: half precision would lose a long sum."""
    return torch.float32 if is_half(kqv) else kqv.dtype
