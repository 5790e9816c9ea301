"""The choice among backends, and building the C++ kernel."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from fairseq_lrn.ops import build, dispatch, lrn_scan
from kernels import MISSING, needs_cpp

USE = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import torch
from fairseq_lrn.ops import backends, lrn_scan
lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4))
lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4))
print(backends()[1])
"""


@pytest.fixture
def unbuilt(tmp_path, root):
    """Environment of a process that finds no library, but a copy of the package.

    Only the recurrence is in its library, and nothing is optimised, so that building is quick.
    """
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(root / "fairseq_lrn", tmp_path / "copy" / "fairseq_lrn", ignore=ignored)
    for source in (tmp_path / "copy" / "fairseq_lrn" / "ops" / "csrc").glob("*.cpp"):
        if source.name != "lrn_scan.cpp":
            source.unlink()
    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "copy"),
        "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        "FAIRSEQ_LRN_CXXFLAGS": "-O0",
    }


def start(environment, code=USE):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=environment["PYTHONPATH"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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


@needs_cpp
def test_fused_kernel_of_another_device():
    lrn_scan(torch.randn(3, 2, 12), torch.randn(2, 4))
    with pytest.raises(RuntimeError, match="computes tensors on cpu, but these are on cuda"):
        dispatch.choose("cuda", "cpp")


def test_device_without_a_fused_kernel(caplog):
    assert dispatch.choose("mps") == "reference"
    assert "kernels on mps: reference, which is slow" in caplog.text


def test_backends_lists_without_loading(root):
    code = (
        "from fairseq_lrn.ops import backends\nfor backend in backends(): print(*backend, sep=';')"
    )
    output = start({**os.environ, "PYTHONPATH": str(root)}, code).communicate()[0]
    listed = [line.split(";", 2) for line in output.splitlines()[-3:]]
    cpp = "not loaded" if MISSING is None else "unavailable"
    assert [line[:2] for line in listed][:2] == [["reference", "ready"], ["cpp", cpp]]
    assert listed[2][0] == "triton" and listed[2][1] in ("not loaded", "unavailable")
    assert all(reason for _, _, reason in listed)


def test_report(root):
    result = subprocess.run(
        [sys.executable, "-m", "fairseq_lrn.ops"],
        env={**os.environ, "PYTHONPATH": str(root), "FAIRSEQ_LRN_BACKEND": "reference"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()
    assert f"torch {torch.__version__}" in lines[0]
    assert "FAIRSEQ_LRN_BACKEND=reference" in lines
    assert [line.split()[0] for line in lines[-3:]] == ["reference", "cpp", "triton"]
    assert (MISSING or "C++ kernel") in lines[-2]
    assert "kernels on cpu: reference" in lines


@needs_cpp
def test_import_loads_and_builds_nothing(unbuilt):
    code = (
        "import fairseq_lrn, sys\n"
        "from fairseq_lrn.ops import backends\n"
        "print(backends()[1], 'torch.utils.cpp_extension' in sys.modules)"
    )
    output = start(unbuilt, code).communicate()[0]
    assert "'not loaded', reason='not built yet" in output.replace("state=", "")
    assert output.strip().endswith("False")
    assert not os.path.exists(unbuilt["TORCH_EXTENSIONS_DIR"])


@needs_cpp
def test_two_processes_build_once(unbuilt):
    """Both start without the library; a third finds it, with building off and no compiler."""
    outputs = [process.communicate()[0] for process in [start(unbuilt), start(unbuilt)]]
    assert all("state='ready'" in output for output in outputs), outputs
    assert sum(output.count("building the C++ kernel") for output in outputs) == 1
    output = start({**unbuilt, "FAIRSEQ_LRN_BUILD": "0", "CXX": "/none"}).communicate()[0]
    assert "state='ready'" in output and "building" not in output


def test_building_turned_off(unbuilt):
    output = start({**unbuilt, "FAIRSEQ_LRN_BUILD": "0"}).communicate()[0]
    assert output.count("kernels on cpu: reference, which is slow; cpp is not available") == 1
    assert "FAIRSEQ_LRN_BUILD=0 turns building off" in output
    environment = {**unbuilt, "FAIRSEQ_LRN_BUILD": "0", "FAIRSEQ_LRN_BACKEND": "cpp"}
    output = start(environment).communicate()[0]
    assert "RuntimeError: FAIRSEQ_LRN_BACKEND='cpp' cannot be used: it is not built" in output


@needs_cpp
def test_no_compiler(unbuilt, tmp_path):
    (tmp_path / "empty").mkdir()
    output = start({**unbuilt, "PATH": str(tmp_path / "empty")}).communicate()[0]
    assert "reference, which is slow; cpp is not available: no C++ compiler was found" in output
    assert "state='unavailable'" in output


@needs_cpp
def test_build_that_fails(unbuilt):
    output = start({**unbuilt, "FAIRSEQ_LRN_CXXFLAGS": "-O0 -Dnamespace=42"}).communicate()[0]
    assert "cpp is not available: building it failed (" in output
    assert "error" in output and ".log" in output
    again = start({**unbuilt, "FAIRSEQ_LRN_CXXFLAGS": "-O0 -Dnamespace=42"}).communicate()[0]
    assert "building the C++ kernel" not in again
    assert "building it failed (" in again and "to try again at once, remove" in again


@needs_cpp
def test_cache_that_cannot_be_written(unbuilt, tmp_path):
    (tmp_path / "extensions").write_text("a file where a directory should be")
    output = start(unbuilt).communicate()[0]
    assert "cannot be written" in output and "set TORCH_EXTENSIONS_DIR" in output


def test_name_of_the_library_follows_its_sources(tmp_path, root):
    ops = root / "fairseq_lrn" / "ops"
    (tmp_path / "csrc").mkdir()
    for source in (*build.sources(ops), ops / "build.py"):
        (tmp_path / source.relative_to(ops)).write_bytes(source.read_bytes())
    names = {build.library_name(ops)}
    assert names == {build.library_name(tmp_path)}
    for changed in (build.sources(tmp_path)[1], tmp_path / "build.py"):
        with changed.open("a") as file:
            file.write("// changed\n")
        names.add(build.library_name(tmp_path))
    assert len(names) == 3
