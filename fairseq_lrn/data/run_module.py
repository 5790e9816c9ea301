"""Running a command of another package as a module."""

import os
import subprocess
import sys
from typing import List


def run_module(module: str, arguments: List[str]) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m module`` with captured output and no input.

    Files in the current directory, where users have their data, are not imported in place of
    modules (in Python 3.11 or later).

    Args:
        module: name of the module.
        arguments: of the command.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
