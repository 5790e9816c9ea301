"""Processes that use the operators, for tests of their choice and of building the kernels."""

import subprocess
import sys

USE = """
import logging, sys
sys.modules["fairseq"] = None  # the operators need torch alone, and fairseq takes seconds
logging.basicConfig(level=logging.INFO, format="%(message)s")
import torch
from fairseq_lrn.ops import backends, lrn_scan
lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4))
lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4))
print(backends()[1])
"""


def start(environment, code=USE):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=environment["PYTHONPATH"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
