"""The backend ``triton``: when it is unavailable, and that it is not imported without need."""

import os
import subprocess
import sys

import pytest
import torch

from fairseq_lrn.ops.lrn_scan import triton_backend


@pytest.fixture
def installed(monkeypatch):
    """Triton can be found, whether it is installed or not."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton_backend.importlib.util, "find_spec", lambda name: True)


def test_is_not_imported_without_need(root):
    code = (
        "import sys, torch, fairseq_lrn\n"
        "fairseq_lrn.LRN(3, 4)(torch.randn(2, 1, 3))\n"
        "assert 'triton' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, check=True)


def test_not_installed(monkeypatch):
    monkeypatch.setattr(triton_backend.importlib.util, "find_spec", lambda name: None)
    reason = triton_backend.unavailable_reason("cuda")
    assert reason == "Triton is not installed; pip install 'triton>=3.0'"
    assert triton_backend.describe()[0] == "unavailable"


def test_tensors_on_the_cpu(installed):
    reason = triton_backend.unavailable_reason("cpu")
    assert "on a GPU (or, slowly, on cpu with TRITON_INTERPRET=1)" in reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(installed):
    reason = triton_backend.unavailable_reason("cuda")
    assert "torch finds no GPU" in reason


def test_the_interpreter_is_for_the_cpu(installed, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert triton_backend.describe() == ("not loaded", "installed; compiled on first use")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    reason = triton_backend.unavailable_reason("cuda")
    assert "TRITON_INTERPRET=1 keeps Triton from compiling" in reason
