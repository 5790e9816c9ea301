"""The device that a trained model runs on."""

from typing import Optional

import torch

from fairseq_lrn.errors import InputError


def usable_device(name: Optional[str]) -> torch.device:
    """The device *name*, by default a GPU if there is one.

    Raises:
        InputError: torch cannot use the device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}") from error
    return device
