"""The backend ``cpp``: loading the library with the C++ kernels."""

import pytest
import torch

from fairseq_lrn.ops import build, cpp_backend, dispatch, lrn_scan
from kernels import needs_cpp


@needs_cpp
def test_fused_kernel_of_another_device():
    lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4))
    with pytest.raises(RuntimeError, match="computes tensors on cpu, but these are on cuda"):
        dispatch.choose("cuda", "cpp")


@needs_cpp
def test_says_which_instructions_and_which_library():
    works, reason = cpp_backend.load("cpu")
    assert works
    assert torch.backends.cpu.get_cpu_capability() in reason and str(build.find()) in reason
    assert cpp_backend.describe() == ("not loaded", f"built: {build.find()}")


def test_a_library_that_cannot_be_loaded(monkeypatch, tmp_path):
    (tmp_path / "kernels.so").write_text("no library")
    monkeypatch.setattr(build, "find", lambda: tmp_path / "kernels.so")
    works, reason = cpp_backend.load("cpu")
    assert not works and "kernels.so" in reason


def test_not_built(monkeypatch):
    monkeypatch.setattr(build, "find", lambda: None)
    monkeypatch.setattr(build, "unavailable_reason", lambda: "no compiler")
    assert cpp_backend.describe() == ("unavailable", "no compiler")
    monkeypatch.setattr(build, "unavailable_reason", lambda: None)
    assert cpp_backend.describe() == ("not loaded", "not built yet; it is built on first use")
