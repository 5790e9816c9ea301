"""A first, quick check of the recurrence's kernels on a GPU: that they run, and what they compute.

scripts/gpu_report.sh runs this file before anything that takes time.
"""

import itertools
import sys
import time
from typing import Iterator, NamedTuple, Sequence, Tuple

import torch

from fairseq_lrn.ops import lrn_scan

# T, B, H: a single element, an ordinary batch, and a sequence of many chunks.
SHAPES = ((1, 1, 1), (30, 4, 64), (4096, 1, 64))
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
HEAD = "| T, B, H | dtype | backend | largest error | seconds | verdict |\n"
HEAD += "| --- | --- | --- | ---: | ---: | --- |"


class Check(NamedTuple):
    """What one backend computes.

    Attributes:
        shape: T, B, H.
        dtype: type of all tensors.
        backend: name of the backend.
        error: largest difference from the reference in float64, of the result and all gradients.
        seconds: time of the first call, with compilation.
        verdict: ``"right"``, ``"wrong"`` or the error.
    """

    shape: Sequence[int]
    dtype: torch.dtype
    backend: str
    error: float
    seconds: float
    verdict: str


def check(
    device: str,
    backends: Sequence[str] = ("triton", "parallel"),
    shapes: Sequence[Sequence[int]] = SHAPES,
    dtypes: Sequence[torch.dtype] = tuple(TOLERANCE),
) -> Iterator[Check]:
    """Run forward and backward pass with each backend; the arguments say where and on what."""
    for shape, dtype, backend in itertools.product(shapes, dtypes, backends):
        torch.manual_seed(1)
        inputs = [torch.randn(*size, dtype=dtype) for size in _sizes(*shape)]
        expected = _run([tensor.double() for tensor in inputs], "reference")
        started = time.perf_counter()
        error = float("nan")
        try:
            found = _run([tensor.to(device) for tensor in inputs], backend)
            pairs = zip(found, expected)
            error = max((a.cpu().double() - b).abs().max().item() for a, b in pairs)
            verdict = "right" if error <= TOLERANCE[dtype] else "wrong"
        except Exception as problem:  # of any type: the other kernels are still of interest
            verdict = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
        yield Check(shape, dtype, backend, error, time.perf_counter() - started, verdict)


def _sizes(time_steps: int, batch: int, hidden: int) -> Tuple[Tuple[int, ...], ...]:
    """The sizes of k, q and v side by side, of the initial state, and of the gradient of h."""
    return (time_steps, batch, 3 * hidden), (batch, hidden), (time_steps, batch, hidden)


def _run(inputs: Sequence[torch.Tensor], backend: str) -> Tuple[torch.Tensor, ...]:
    kqv, h0 = (tensor.requires_grad_() for tensor in inputs[:2])
    h = lrn_scan(kqv, h0, backend=backend)
    return (h.detach(), *torch.autograd.grad(h, (kqv, h0), inputs[2]))


def format_row(found: Check) -> str:
    """A row of the Markdown table that starts with :data:`HEAD`."""
    return (
        f"| {', '.join(map(str, found.shape))} | {str(found.dtype).split('.')[-1]} "
        f"| {found.backend} | {found.error:.1e} | {found.seconds:.1f} | {found.verdict} |"
    )


def main() -> None:
    print(HEAD, flush=True)
    are_right = True
    for found in check("cuda"):
        print(format_row(found), flush=True)
        are_right = are_right and found.verdict == "right"
    sys.exit(0 if are_right else 1)


if __name__ == "__main__":
    main()
