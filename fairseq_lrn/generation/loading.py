"""What loading a trained model needs: its device, and the files of its raw text."""

import os
from typing import Any, Callable, Dict, List, Optional

import torch

from fairseq_lrn import checkpoints
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


def find_text_directory(
    file: str,
    state: Dict[str, Any],
    files: Callable[[str], List[str]],
    record: str,
    command: str,
) -> str:
    """The directory with the files that raw text needs: the checkpoint's, or that of its data.

    Args:
        file: path of the checkpoint.
        state: the checkpoint.
        files: names of these files in a directory; an empty list if it has none.
        record: the one of them that tells whether it has.
        command: the command of ``fairseq-lrn`` that makes it.

    Raises:
        InputError: neither directory has these files.
    """
    directories = [os.path.dirname(file) or "."]
    training_data = checkpoints.task_options(state).get("data")
    if isinstance(training_data, str):
        directories.append(training_data.split(os.pathsep)[0])
    for directory in directories:
        if files(directory):
            return directory
    raise InputError(
        f"there is no {record} in {' and '.join(directories)}, so the tokenisation of raw text is "
        f"unknown: give the directory that fairseq-lrn {command} made, as data=DIR or --data DIR"
    )
