"""The choice among backends."""

import os
import subprocess
import sys

import pytest
import torch

from fairseq_lrn.ops import dispatch, lrn_scan
from kernels import MISSING, needs_cpp
from processes import start


@needs_cpp
def test_auto_takes_the_fused_kernel_and_says_so_once(root):
    output = start({**os.environ, "PYTHONPATH": str(root)}).communicate()[0]
    assert output.count("kernels on cpu: cpp, C++ kernel") == 1
    assert "state='ready'" in output


@needs_cpp
def test_explicit_choice(monkeypatch):
    kqv, h0 = torch.randn(3, 2, 12).requires_grad_(), torch.randn(2, 4)
    expected = lrn_scan(kqv, h0, backend="reference")
    assert "Scan" not in expected.grad_fn.name()
    for name in ("auto", "cpp"):
        h = lrn_scan(kqv, h0, backend=name)
        assert "Scan" in h.grad_fn.name()
        torch.testing.assert_close(h, expected)
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
    assert "Scan" not in lrn_scan(kqv, h0).grad_fn.name()


def test_unknown_backend(monkeypatch):
    kqv, h0 = torch.randn(3, 2, 12), torch.randn(2, 4)
    with pytest.raises(ValueError, match="backend='abacus' is unknown; choose from"):
        lrn_scan(kqv, h0, backend="abacus")
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "abacus")
    with pytest.raises(ValueError, match="FAIRSEQ_LRN_BACKEND='abacus' is unknown"):
        lrn_scan(kqv, h0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_choice_that_cannot_be_honoured(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        RuntimeError, match="backend='triton' cannot be used: .*(on a GPU|not installed)"
    ):
        lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4), backend="triton")


def test_device_without_a_fused_kernel(caplog):
    assert dispatch.choose("mps") == "reference"
    assert "kernels on mps: reference, which is slow" in caplog.text


def test_backends_lists_without_loading(root):
    code = (
        "from fairseq_lrn.ops import backends\nfor backend in backends(): print(*backend, sep=';')"
    )
    output = start({**os.environ, "PYTHONPATH": str(root)}, code).communicate()[0]
    listed = [line.split(";", 2) for line in output.splitlines()[-4:]]
    cpp = "not loaded" if MISSING is None else "unavailable"
    assert [line[:2] for line in listed][:2] == [["reference", "ready"], ["cpp", cpp]]
    assert listed[3][:2] == ["parallel", "ready"]
    assert listed[2][0] == "triton" and listed[2][1] in ("not loaded", "unavailable")
    assert all(reason for _, _, reason in listed)


def test_report(root):
    result = subprocess.run(
        [sys.executable, "-m", "fairseq_lrn.ops"],
        env={
            **os.environ,
            "PYTHONPATH": str(root),
            "FAIRSEQ_LRN_BACKEND": "reference",
            "FAIRSEQ_LRN_PRODUCTS": "torch",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()
    assert f"torch {torch.__version__}" in lines[0]
    assert "FAIRSEQ_LRN_BACKEND=reference" in lines
    assert [line.split()[0] for line in lines[-4:]] == ["reference", "cpp", "triton", "parallel"]
    assert (MISSING or "C++ kernel") in lines[-3]
    assert "kernels on cpu: reference" in lines
    assert "float32 products on cpu: torch (FAIRSEQ_LRN_PRODUCTS=torch)" in lines
    assert "8-bit products: unavailable" in lines


@pytest.fixture
def registry(monkeypatch):
    """An empty registry, in which nothing is loaded."""
    for name in ("_registrations", "_loaded", "_choices"):
        monkeypatch.setattr(dispatch, name, {})
    monkeypatch.setattr(dispatch, "_announced", set())
    monkeypatch.delenv("FAIRSEQ_LRN_BACKEND", raising=False)


def test_a_backend_registers_itself(registry, caplog):
    loads = []

    def load(device_type):
        loads.append(device_type)
        return True, "by beads"

    dispatch.register(
        "abacus", "cpu", lambda device_type: "", load, lambda: ("not loaded", "built of wood")
    )
    assert dispatch.backends()[1] == ("abacus", "not loaded", "built of wood")
    assert dispatch.choose("cpu") == dispatch.choose("cpu", "abacus") == "abacus"
    assert loads == ["cpu"] and dispatch.is_loaded("abacus", "cpu")
    assert dispatch.backends()[1] == ("abacus", "ready", "by beads")
    assert dispatch.choose("cuda") == "reference"


def test_one_fused_backend_for_a_device(registry):
    for name in ("abacus", "slide rule"):
        dispatch.register(name, "cpu", lambda _: "", lambda _: (True, ""), lambda: ("", ""))
    assert dispatch.choose("cpu") == "abacus"
    with pytest.raises(RuntimeError, match="already uses abacus on cpu; start a new process"):
        dispatch.choose("cpu", "slide rule")
