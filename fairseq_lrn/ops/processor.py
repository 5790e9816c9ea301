"""What the processor is and can do."""


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
