"""Time the recurrence and its layer: ``scripts/benchmark.py scan`` and ``layer``.

On a shared machine, only ratios between times measured together are meaningful. All candidates
therefore take turns in one process: in each round, each candidate is called once without timing and
then several times with timing. The reported time is the median of all timed calls.
"""

import statistics
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from fairseq_lrn.modules import LRN
from fairseq_lrn.ops import lrn_scan

# T, B, H
SCAN_SHAPES = ((30, 64, 512), (100, 16, 512), (200, 32, 1024))
STEP_SHAPE = (1, 5, 512)
LAYER_SHAPES = ((30, 64, 512), (30, 64, 1024))
GPU_SHAPES = ((512, 32, 1024),)
# On a GPU, the loop and the backend "parallel" over a long sequence.
LONG_SHAPE = (16384, 1, 1024)
# The eager loop is not timed over more steps than this.
EAGER_STEPS = 1000
# A turn must be long compared with the switch from one candidate to the next.
TURN_SECONDS = 0.1


class Comparison(NamedTuple):
    """LRN against one peer, at one shape.

    Attributes:
        operation: the timed operation.
        shape: T, B, H.
        lrn_ms: median time of LRN, in milliseconds.
        peer: name of the peer.
        peer_ms: median time of the peer, in milliseconds.
    """

    operation: str
    shape: Sequence[int]
    lrn_ms: float
    peer: str
    peer_ms: float


def take_turns(
    candidates: Dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> Dict[str, float]:
    """Median time of a call of each candidate, in milliseconds.

    On a GPU, the calls of a turn are timed together: as in training, work is launched while earlier
    work is still running. Where the launches take longer, the time is that of the launches.
    """

    def timed(candidate: Callable[[], object], number: int = 1) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(number):
            candidate()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / number

    calls = {}
    for name, candidate in candidates.items():
        candidate()
        calls[name] = max(1, min(50, int(TURN_SECONDS / timed(candidate))))
    times: Dict[str, List[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            candidate()
            if device.type == "cuda":
                times[name].append(timed(candidate, calls[name]))
            else:
                times[name] += [timed(candidate) for _ in range(calls[name])]
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def compare(
    operation: str,
    shape: Sequence[int],
    candidates: Dict[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
) -> List[Comparison]:
    """Compare the first candidate, which is LRN, with each of the others.

    The rows appear on standard error as they come, so that a run that is stopped is not lost. A
    peer that fails is left out.
    """
    first, *others = candidates
    working = {first: candidates[first]}
    for name in others:
        try:
            candidates[name]()
            working[name] = candidates[name]
        except RuntimeError as error:
            print(f"{name} failed at {tuple(shape)}: {error}", file=sys.stderr, flush=True)
    (_, lrn_ms), *peers = take_turns(working, rounds, device).items()
    found = [Comparison(operation, shape, lrn_ms, peer, peer_ms) for peer, peer_ms in peers]
    for comparison in found:
        print(format_row(comparison), file=sys.stderr, flush=True)
    return found


def scan(
    shapes: Optional[Sequence[Sequence[int]]] = None,
    rounds: int = 7,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    activation: str = "tanh",
) -> List[Comparison]:
    """Compare the recurrence with the eager loop, and with a copy of the same number of bytes.

    The forward and backward passes read k, q and v twice, and the state and its gradient once; they
    write the state and three gradients. In total, these are twelve T x B x H tensors. A copy of six
    tensors moves the same number of bytes.

    Args:
        shapes: T, B, H of each comparison; by default, the shapes in docs/kernels.md.
        rounds: turns of each candidate.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: type of all tensors.
        activation: ``"tanh"`` or ``"identity"``.

    Returns:
        a comparison for each shape and peer, times in milliseconds.
    """
    torch_device = torch.device(device)
    options = {"device": torch_device, "dtype": dtype}
    results = []
    if shapes is None:
        shapes = default_shapes(SCAN_SHAPES, torch_device)
        shapes = [LONG_SHAPE, *shapes] if torch_device.type == "cuda" else shapes
    for time_steps, batch, hidden in shapes:
        kqv = torch.randn(time_steps, batch, 3 * hidden, **options).requires_grad_()
        h0 = torch.randn(batch, hidden, **options).requires_grad_()
        grad_h = torch.randn(time_steps, batch, hidden, **options)
        source = torch.randn(6, time_steps, batch, hidden, **options)
        target = torch.empty_like(source)

        def train(backend=None, kqv=kqv, h0=h0, grad_h=grad_h):
            h = lrn_scan(kqv, h0, activation=activation, backend=backend)
            torch.autograd.grad(h, (kqv, h0), grad_h)

        candidates = {
            "LRN": train,
            "copy": lambda source=source, target=target: target.copy_(source),
        }
        if time_steps <= EAGER_STEPS:
            candidates["eager loop"] = lambda train=train: train("reference")
        if torch_device.type == "cuda":
            candidates["loop"] = lambda train=train: train("triton")
            candidates["parallel"] = lambda train=train: train("parallel")
        shape = (time_steps, batch, hidden)
        results += compare("scan, forward + backward", shape, candidates, rounds, torch_device)
    results += _step(rounds, torch_device, options, activation)
    return results


def _step(
    rounds: int, device: torch.device, options: Dict[str, object], activation: str
) -> List[Comparison]:
    time_steps, batch, hidden = STEP_SHAPE
    kqv = torch.randn(time_steps, batch, 3 * hidden, **options)
    h0 = torch.randn(batch, hidden, **options)
    function = {"tanh": torch.tanh, "identity": lambda h: h}[activation]

    def eager():
        # The bare equations, without the reference's handling of masks and types.
        k, q, v = kqv[0].chunk(3, dim=-1)
        return function(torch.sigmoid(k + h0) * v + torch.sigmoid(q - h0) * h0)

    with torch.no_grad():
        return compare(
            "scan, one decoding step",
            STEP_SHAPE,
            {"LRN": lambda: lrn_scan(kqv, h0, activation=activation), "eager step": eager},
            rounds,
            device,
        )


def layer(
    shapes: Optional[Sequence[Sequence[int]]] = None,
    rounds: int = 7,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    activation: str = "tanh",
) -> List[Comparison]:
    """Compare one layer of LRN, forward and backward, with other recurrent layers of its size.

    It is also compared with its own matrix products alone: x W, and the gradients of x and of W.

    Args:
        shapes: T, B, H of each comparison; by default, the shapes in docs/kernels.md.
        rounds: turns of each candidate.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: type of all tensors.
        activation: ``"tanh"`` or ``"identity"``.

    Returns:
        a comparison for each shape and peer, times in milliseconds.
    """
    torch_device = torch.device(device)
    options = {"device": torch_device, "dtype": dtype}
    results = []
    for time_steps, batch, hidden in shapes or default_shapes(LAYER_SHAPES, torch_device):
        x = torch.randn(time_steps, batch, hidden, **options).requires_grad_()
        grad_h = torch.randn(time_steps, batch, hidden, **options)
        candidates = {
            name: _training(module.to(**options), x, grad_h)
            for name, module in (
                ("LRN", LRN(hidden, hidden, activation=activation)),
                ("LSTM", nn.LSTM(hidden, hidden)),
                ("GRU", nn.GRU(hidden, hidden)),
                *_sru(hidden),
            )
        }
        candidates["matrix products"] = _products(x.detach(), grad_h)
        shape = (time_steps, batch, hidden)
        results += compare("layer, forward + backward", shape, candidates, rounds, torch_device)
    return results


def _training(module: nn.Module, x: Tensor, grad_h: Tensor) -> Callable[[], None]:
    def train():
        module.zero_grad()
        x.grad = None
        module(x)[0].backward(grad_h)

    return train


def _products(x: Tensor, grad_h: Tensor) -> Callable[[], None]:
    x = x.flatten(0, 1)  # T x B x H to T*B x H
    weight = torch.randn(3 * x.size(1), x.size(1), dtype=x.dtype, device=x.device)
    grad = grad_h.flatten(0, 1).repeat(1, 3)  # T*B x 3H

    def multiply():
        # All three results stay in memory until the end, as in training.
        return torch.mm(x, weight.t()), torch.mm(grad, weight), torch.mm(grad.t(), x)

    return multiply


def _sru(hidden: int) -> list:
    try:
        from sru import SRU
    except Exception as error:  # of any type: it compiles code when it is imported
        print(f"SRU is left out ({error}): pip install sru", file=sys.stderr)
        return []
    return [("SRU", SRU(hidden, hidden, num_layers=1))]


def default_shapes(shapes: Sequence[Sequence[int]], device: torch.device) -> list:
    """The shapes for a device: on a GPU, also one that is large enough to occupy it."""
    return [*(GPU_SHAPES if device.type == "cuda" else ()), *shapes]


def format_table(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table."""
    rows = ["| operation | T, B, H | LRN, ms | peer | peer, ms | peer / LRN | LRN / peer |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    return "\n".join([*rows, *map(format_row, comparisons)])


def format_row(comparison: Comparison) -> str:
    """A row of the table."""
    operation, shape, lrn_ms, peer, peer_ms = comparison
    return (
        f"| {operation} | {', '.join(map(str, shape))} | {lrn_ms:.3f} | {peer} "
        f"| {peer_ms:.3f} | {peer_ms / lrn_ms:.2f} | {lrn_ms / peer_ms:.2f} |"
    )


def plot(comparisons: Sequence[Comparison], path: str) -> None:
    """Draw the time of each peer as a multiple of LRN's time, one panel per shape.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: matplotlib does not know the format of the file's suffix.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups: Dict[tuple, List[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.operation, tuple(comparison.shape)), []).append(comparison)
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(7, 0.9 + 1.4 * len(groups)), squeeze=False, layout="constrained"
    )
    for axis, ((operation, (time_steps, batch, hidden)), group) in zip(axes[:, 0], groups.items()):
        names = ["LRN", *(comparison.peer for comparison in group)]
        ratios = [1.0, *(comparison.peer_ms / comparison.lrn_ms for comparison in group)]
        bars = axis.barh(names, ratios, color=["tab:orange"] + ["tab:blue"] * len(group))
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_title(f"{operation}: T={time_steps} B={batch} H={hidden}", fontsize="medium")
    axes[-1, 0].set_xlabel("time of a call, LRN = 1 (longer is slower)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
