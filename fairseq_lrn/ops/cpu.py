"""Features of the processor."""

import os

# Ten times as many as an epoch of Multi30k needs.
ONEDNN_KERNELS = "4096"


def cpuinfo(key: str) -> str:
    """The value of *key* in Linux's /proc/cpuinfo; an empty string if it is not there."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith(key))
    except (OSError, StopIteration):
        return ""


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 products (AVX-512 BF16, AMX, Arm's).

    On other processors torch converts bfloat16 to float32, which is slower than float32 alone.
    """
    instructions = f"{cpuinfo('flags')} {cpuinfo('Features')}".split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(instructions)


def keep_onednn_kernels() -> None:
    """Make oneDNN cache more compiled kernels than its default of 1024.

    oneDNN compiles a kernel for each shape of each matrix product, which takes milliseconds on a
    processor with tile registers. An epoch can have more shapes than the default cache holds, and
    would compile them again. A kernel takes hundreds of kilobytes, so a full cache takes gigabytes.
    Call this before the process's first product with oneDNN. A size that is set in the environment
    is kept.
    """
    if "DNNL_PRIMITIVE_CACHE_CAPACITY" not in os.environ:  # the older name
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", ONEDNN_KERNELS)
