"""Building the library with the C++ kernels, and finding it."""

import os
import shutil

import pytest

from fairseq_lrn.ops import build
from kernels import needs_cpp
from processes import start


@pytest.fixture
def unbuilt(tmp_path, root):
    """Environment of a process that finds a copy of the package, but no library with kernels.

    Its library holds only the recurrence and is not optimised, so building it is quick.
    """
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(root / "fairseq_lrn", tmp_path / "copy" / "fairseq_lrn", ignore=ignored)
    for source in (tmp_path / "copy" / "fairseq_lrn" / "ops" / "csrc").rglob("*.cpp"):
        if source.name != "lrn_scan.cpp":
            source.unlink()
    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "copy"),
        "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        "FAIRSEQ_LRN_CXXFLAGS": "-O0",
    }


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
    assert sum(output.count("building the C++ kernels, once") for output in outputs) == 1
    output = start({**unbuilt, "FAIRSEQ_LRN_BUILD": "0", "CXX": "/none"}).communicate()[0]
    assert "state='ready'" in output and "building" not in output


def test_building_turned_off(unbuilt):
    output = start({**unbuilt, "FAIRSEQ_LRN_BUILD": "0"}).communicate()[0]
    assert output.count("kernels on cpu: reference, which is slow; cpp is not available") == 1
    assert "FAIRSEQ_LRN_BUILD=0 turns building off" in output
    environment = {**unbuilt, "FAIRSEQ_LRN_BUILD": "0", "FAIRSEQ_LRN_BACKEND": "cpp"}
    output = start(environment).communicate()[0]
    assert "UnavailableBackend: FAIRSEQ_LRN_BACKEND='cpp' cannot be used: it is not built" in output


@needs_cpp
def test_no_compiler(unbuilt, tmp_path):
    (tmp_path / "empty").mkdir()
    output = start({**unbuilt, "PATH": str(tmp_path / "empty")}).communicate()[0]
    assert "reference, which is slow; cpp is not available: no C++ compiler was found" in output
    assert "state='unavailable'" in output


@needs_cpp
def test_build_that_fails(unbuilt):
    wrong = {**unbuilt, "FAIRSEQ_LRN_CXXFLAGS": "--no-such-flag"}
    output = start(wrong).communicate()[0]
    assert "cpp is not available: building it failed (" in output
    assert "error" in output and ".log" in output
    again = start(wrong).communicate()[0]
    assert "building the C++ kernel" not in again
    assert "building it failed (" in again and "to try again at once, remove" in again


@needs_cpp
def test_cache_that_cannot_be_written(unbuilt, tmp_path):
    (tmp_path / "extensions").write_text("a file where a directory should be")
    output = start(unbuilt).communicate()[0]
    assert "cannot be written" in output and "set TORCH_EXTENSIONS_DIR" in output


def test_name_of_the_library_follows_its_sources(tmp_path, root):
    ops = root / "fairseq_lrn" / "ops"
    for source in (*build.sources(ops), ops / "build.py"):
        copy = tmp_path / source.relative_to(ops)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    names = {build.library_name(ops)}
    assert names == {build.library_name(tmp_path)}
    for changed in (build.sources(tmp_path)[1], tmp_path / "build.py"):
        with changed.open("a") as file:
            file.write("// changed\n")
        names.add(build.library_name(tmp_path))
    assert len(names) == 3
