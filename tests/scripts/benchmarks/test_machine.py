"""The description of the machine, huge pages and units of memory."""

import builtins
import io

import pytest
import torch

from benchmarks import machine


def test_description():
    description = machine.describe_machine()
    assert description["threads"] == torch.get_num_threads()
    assert description["torch"] == torch.__version__
    assert description["bfloat16"] in ("yes", "no") and "gpu" not in description
    assert machine.format_machine({"processor": "x", "threads": 2}) == "processor: x, threads: 2"


@pytest.mark.parametrize(
    "libc, setting, expected",
    [
        (("glibc", "2.36"), "always [madvise] never", True),
        (("glibc", "2.35"), "[always] madvise never", False),
        (("glibc", "2.34"), "always [madvise] never", False),
        (("musl", "1.2"), "always [madvise] never", False),
        (("glibc", "2.36"), None, False),
    ],
)
def test_huge_pages(monkeypatch, libc, setting, expected):
    def open_setting(path, **options):
        assert path == "/sys/kernel/mm/transparent_hugepage/enabled"
        if setting is None:
            raise FileNotFoundError(path)
        return io.StringIO(setting)

    monkeypatch.setattr(machine.platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(builtins, "open", open_setting)
    assert machine.has_huge_pages() == expected


@pytest.mark.parametrize("system, maxrss", [("Linux", 3 * 2**10), ("Darwin", 3 * 2**20)])
def test_mebibytes(monkeypatch, system, maxrss):
    monkeypatch.setattr(machine.platform, "system", lambda: system)
    assert machine.mebibytes(maxrss) == 3
