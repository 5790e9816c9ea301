"""Running a command of another package as a module."""

import logging
import os
import re
import subprocess
import sys
from typing import List

from fairseq_lrn.errors import command_failed

logger = logging.getLogger(__name__)


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


def run_preprocess(arguments: List[str]) -> None:
    """Run ``fairseq-preprocess``, and warn of files with unknown tokens.

    Args:
        arguments: of the command.

    Raises:
        InputError: it fails.
    """
    logger.info("fairseq-preprocess")
    result = run_module("fairseq_cli.preprocess", arguments)
    if result.returncode != 0:
        raise command_failed("fairseq-preprocess", result.stderr)
    for path, share in re.findall(r" (\S.*): \d+ sents, .* ([\d.]+)% replaced", result.stdout):
        if float(share) > 0:
            logger.warning(
                "%s: %s%% of the tokens are not in the dictionary: models read them as unknown",
                os.path.basename(path), share,
            )  # fmt: skip
