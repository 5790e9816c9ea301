"""The GPU kernels without a GPU: in Triton's interpreter, and through Triton's compiler."""

import importlib.metadata
import os
import subprocess
import sys

import pytest


def why_no_triton():
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "Triton is not installed"
    return f"Triton {version} is too old" if int(version.split(".")[0]) < 3 else None


# The tests in test_parallel.py that run the kernels.
KERNELS = "loop_s or step_by_step or nan or overflow or both_directions or inference_mode"
needs_triton = pytest.mark.skipif(why_no_triton() is not None, reason=str(why_no_triton()))
# Compiles both kernels to machine code of a GPU generation. What they load must be fetched
# ahead, by asynchronous copies: otherwise each step waits for memory.
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fairseq_lrn.ops.lrn_scan import triton_kernels

OTHERS = {"mask": "*i32", "rounds": "*i32", "done": "*i32", "counts": "*i64", "tolerance": "fp32"}
POINTERS = {"kqv", "h", "grad_h", "grad_kqv"}
STATES = {
    "h0", "grad_h0", "states", "bias", "ends", "slopes", "later_grads", "sums", "start", "later"
}


def compiled(name, dtype, **constants):
    kernel = getattr(triton_kernels, name)
    state = "fp64" if dtype == "fp64" else "fp32"
    constants["STATE"] = getattr(triton.language, "float" + state[2:])
    constants = {k: v for k, v in constants.items() if k in kernel.arg_names}
    signature = {
        arg: OTHERS.get(arg, "constexpr" if arg in constants else "*" + dtype
                        if arg in POINTERS else "*" + state if arg in STATES else "i32")
        for arg in kernel.arg_names
    }
    place = {arg: (index,) for index, arg in enumerate(kernel.arg_names)}
    aligned = {
        place[a]: [["tt.divisibility", 16]] for a in signature
        if a not in constants and not signature[a].startswith("fp")
    }
    values = {place[a]: value for a, value in constants.items()}
    source = ASTSource(kernel, signature, values, aligned)
    options = {"num_warps": triton_kernels.NUM_WARPS}
    result = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert result.asm["cubin"]
    return result.asm["ptx"]


PARTS = {
    "_forward_kernel": ("WHOLE", "LEFT", "GUESS", "CHUNK"),
    "_backward_kernel": ("WHOLE", "SUM", "CHUNK", "LEFT"),
}
VARIANTS = [  # type, output gate, mask and bias, reverse
    ("fp32", False, True, False), ("bf16", False, True, False), ("fp32", True, False, True),
    ("fp16", True, True, True), ("fp64", False, False, False),
]
for index, (dtype, output_gate, has_both, reverse) in enumerate(VARIANTS):
    for name, loads in (("_forward_kernel", 4), ("_backward_kernel", 6)):
        for part in PARTS[name] if index in (0, 3) else ("WHOLE",):
            ptx = compiled(
                name, dtype, REVERSE=reverse, TANH=not reverse, OUTPUT_GATE=output_gate,
                HAS_MASK=has_both, HAS_BIAS=has_both, HALF=dtype not in ("fp32", "fp64"),
                BLOCK=64 if dtype in ("fp32", "fp64") else 128,
                PART=getattr(triton_kernels, part).value,
            )
            if has_both and not output_gate:
                copies = ptx.count("cp.async.c")
                assert copies >= loads * triton_kernels.STAGES.value, (name, dtype, part, copies)
for name in ("_newton_kernel", "_later_kernel"):
    compiled(name, "fp32", BLOCK=triton_kernels.LANES)
print("compiled")
"""


def run(root, *command, **environment):
    return subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@needs_triton
def test_in_the_interpreter(root):
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    parallel = ["tests/ops/lrn_scan/test_parallel.py", "-k", KERNELS]
    for tests in (["tests/ops/lrn_scan/test_agreement.py"], parallel):
        result = run(root, *command, *tests, TRITON_INTERPRET="1")
        assert result.returncode == 0, result.stdout
        assert " passed" in result.stdout


@needs_triton
def test_compiles_for_a_gpu(root):
    result = run(root, "-c", COMPILE)
    assert result.returncode == 0 and "compiled" in result.stdout, result.stdout
