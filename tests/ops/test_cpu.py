"""How many kernels oneDNN keeps."""

import os
import platform
import subprocess
import sys

import pytest

from fairseq_lrn.ops.cpu import has_bfloat16

# Shapes, twice: kernels that were kept are not compiled again.
PRODUCTS = """
import torch
from fairseq_lrn.ops.cpu import keep_onednn_kernels
keep_onednn_kernels()
torch.set_num_threads(1)
weight = torch.ones(32, 32, dtype=torch.bfloat16)
for turn in range(2):
    for rows in range(33, 33 + {shapes}):
        weight.new_ones(rows, 32) @ weight
"""


def kernels_compiled(shapes: int, **variables: str) -> int:
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment.update(ONEDNN_VERBOSE="2", **variables)
    command = [sys.executable, "-c", PRODUCTS.format(shapes=shapes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if ",create:" in line]
    assert len(lines) == 2 * shapes, "oneDNN does not say what it makes, or makes nothing"
    return sum(",create:cache_miss," in line for line in lines)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not has_bfloat16(),
    reason="oneDNN compiles no products of bfloat16 here",
)
def test_kernels_are_kept():
    assert kernels_compiled(1100) == 1100, "oneDNN's own number is 1024"
    assert kernels_compiled(200, DNNL_PRIMITIVE_CACHE_CAPACITY="100") == 400, "the user's number"
