"""What the processor is and can do."""

import os

# Ten times what an epoch of Multi30k needs.
ONEDNN_KERNELS = "16384"


def cpuinfo(key: str) -> str:
    """A line of Linux's description of the processor; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith(key))
    except (OSError, StopIteration):
        return ""


def has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 itself (AVX-512 BF16, AMX, Arm's).

    torch computes in bfloat16 on others, too, by way of float32, which takes longer than float32.
    """
    instructions = f"{cpuinfo('flags')} {cpuinfo('Features')}".split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(instructions)


def keep_onednn_kernels() -> None:
    """Have oneDNN keep the kernels of more shapes of batches than it does by itself.

    It compiles one for each shape of each product, which takes milliseconds where the processor
    multiplies in tiles, and keeps the 1024 that were used last. An epoch can have more: when a
    batch comes again, some of its kernels are gone. Takes effect before the first product by
    oneDNN in a process. A number that is set in the environment stays.
    """
    if "DNNL_PRIMITIVE_CACHE_CAPACITY" not in os.environ:  # the older name
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", ONEDNN_KERNELS)
