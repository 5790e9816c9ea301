"""The quick check of kernels, on the CPU."""

import pytest
import torch

from benchmarks import gpu_smoke
from kernels import needs_cpp

SMALL = {"shapes": [(1, 1, 1), (5, 2, 3)], "dtypes": [torch.float32]}


@needs_cpp
def test_right():
    found = list(gpu_smoke.check("cpu", ("cpp", "parallel"), **SMALL))
    assert [(one.shape, one.backend) for one in found] == [
        (shape, backend) for shape in SMALL["shapes"] for backend in ("cpp", "parallel")
    ]
    assert all(one.verdict == "right" and one.error < 1e-5 for one in found)
    row = gpu_smoke.format_row(found[0])
    assert row.startswith("| 1, 1, 1 | float32 | cpp | ") and row.endswith(" | right |")


@pytest.mark.parametrize(
    "backend, verdict", [("wrong", "wrong"), ("absent", "UnknownSetting: back")]
)
def test_wrong(monkeypatch, backend, verdict):
    scan = gpu_smoke.lrn_scan

    def wrong(*args, backend):
        return 2 * scan(*args) if backend == "wrong" else scan(*args, backend=backend)

    monkeypatch.setattr(gpu_smoke, "lrn_scan", wrong)
    found = list(gpu_smoke.check("cpu", (backend,), **SMALL))
    assert len(found) == 2 and all(one.verdict.startswith(verdict) for one in found)
