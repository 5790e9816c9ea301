"""The machine on which figures are measured."""

import platform
from typing import Dict

import torch

from fairseq_lrn.ops.cpu import cpuinfo, has_bfloat16


def describe_machine(device: str = "cpu") -> Dict[str, object]:
    """Processor, threads, instruction set and versions, and the GPU if *device* is one."""
    machine = {
        "processor": cpuinfo("model name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": "yes" if has_bfloat16() else "no",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if torch.device(device).type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def format_machine(machine: Dict[str, object]) -> str:
    """One line for :func:`describe_machine`, for example above a table."""
    return ", ".join(f"{name}: {value}" for name, value in machine.items())


def has_huge_pages() -> bool:
    """Whether glibc can request huge pages for large tensors (glibc 2.35 and later).

    Linux must grant them on request only: the setting "madvise", the default of many distributions.
    """
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 35):
        return False
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="ascii") as file:
            return "[madvise]" in file.read()
    except OSError:
        return False


def mebibytes(maxrss: int) -> float:
    """Convert ``ru_maxrss`` of ``resource.getrusage`` (KiB; bytes on macOS) to MiB."""
    return maxrss / (2**20 if platform.system() == "Darwin" else 2**10)
