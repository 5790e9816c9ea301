"""Data types of matrix products and of running sums."""

import torch
from torch import Tensor


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The type in which torch multiplies *x* by a matrix: autocast's type, or that of *x*."""
    device_type = x.device.type
    if x.dtype == torch.float64 or device_type == "meta":  # autocast leaves them as they are
        return x.dtype
    if not is_autocast(device_type):
        return x.dtype
    if not hasattr(torch, "get_autocast_dtype"):  # torch < 2.4
        name = "gpu" if device_type == "cuda" else device_type
        return getattr(torch, f"get_autocast_{name}_dtype")()
    return torch.get_autocast_dtype(device_type)


def is_autocast(device_type: str) -> bool:
    """Whether autocast is on for tensors on *device_type*."""
    if device_type == "meta":
        return False
    if not hasattr(torch, "get_autocast_dtype"):  # torch < 2.4
        is_gpu = device_type == "cuda"
        return torch.is_autocast_enabled() if is_gpu else torch.is_autocast_cpu_enabled()
    return torch.is_autocast_enabled(device_type)


def is_half(tensor: Tensor) -> bool:
    """Whether *tensor* is float16 or bfloat16."""
    return tensor.dtype in (torch.float16, torch.bfloat16)


def state_dtype(kqv: Tensor) -> torch.dtype:
    """The type of the running state: half precision would lose a long sum."""
    return torch.float32 if is_half(kqv) else kqv.dtype
