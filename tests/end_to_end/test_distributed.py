"""Two processes that train one model, through fairseq-train on a CPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fairseq_lrn import checkpoints

OPTIONS = [
    *("--arch", "lrn_tiny", "--dropout", "0", "--max-tokens", "500", "--max-update", "8"),
    *("--optimizer", "torch_adam", "--lr", "0.001", "--cpu", "--disable-validation"),
    *("--criterion", "fused_label_smoothed_cross_entropy", "--label-smoothing", "0.1"),
    *("--num-workers", "0"),
]


@pytest.fixture(scope="module")
def fresh(root, tmp_path_factory):
    """The package without kernels, and the environment of a user who has none built yet.

    Nothing is optimised, so that building is quick.
    """
    directory = tmp_path_factory.mktemp("fresh")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(root / "fairseq_lrn", directory / "fairseq_lrn", ignore=ignored)
    environment = {"TORCH_EXTENSIONS_DIR": str(directory / "built"), "OMP_NUM_THREADS": "1"}
    return directory, {**os.environ, **environment, "FAIRSEQ_LRN_CXXFLAGS": "-O0"}


def train(fresh, data, save_dir, *options):
    """Start fairseq-train."""
    directory, environment = fresh
    command = [Path(sys.executable).parent / "fairseq-train", data, *OPTIONS, *options]
    command += ["--user-dir", directory / "fairseq_lrn", "--save-dir", save_dir]
    return subprocess.Popen(
        list(map(str, command)),
        env=environment,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output[-3000:]
    assert "kernels on cpu: reference" not in output
    return output


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, which builds the kernels")
def test_two_processes_are_as_one(fresh, toy_data, tmp_path):
    """The same parameters as with --update-freq 2; both find that the kernels must be built."""
    options = ["--distributed-world-size", "2", "--distributed-no-spawn"]
    options += ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    options += ["--distributed-init-method", f"file://{tmp_path / 'meeting'}"]
    processes = [
        train(fresh, toy_data, tmp_path / "two", *options, "--distributed-rank", str(rank))
        for rank in range(2)
    ]
    try:
        outputs = [finish(process) for process in processes]
    finally:  # one that failed leaves the other waiting
        for process in processes:
            process.kill()
    assert "kernels on cpu: cpp" in outputs[0]  # fairseq lets the others print warnings only
    built = sum(output.count("building the C++ kernels, once") for output in outputs)
    assert built == 1 and len(list((fresh[0] / "built").rglob("_lrn_scan_*.so"))) == 1
    finish(train(fresh, toy_data, tmp_path / "one", "--update-freq", "2"))
    two, one = (
        checkpoints.load(str(tmp_path / name / "checkpoint_last.pt"))["model"]
        for name in ("two", "one")
    )
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
