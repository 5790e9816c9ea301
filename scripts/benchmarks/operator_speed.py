"""Timing the recurrence and its layer: ``scripts/benchmark.py scan`` and ``layer``.

On a shared machine only ratios mean something, and only between what was measured at the same
time. So all candidates take turns in one process: in each round every one is called once
without being timed, then several times. A time is the median over all timed calls.
"""

import statistics
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
# Long enough for a turn to be more than the change from one candidate to the next.
TURN_SECONDS = 0.1


class Comparison(NamedTuple):
    """Ours against one peer, at one shape.

    Attributes:
        what: what was timed.
        shape: T, B, H.
        ours: median, in milliseconds.
        peer: name of the peer.
        theirs: its median, in milliseconds.
    """

    what: str
    shape: Sequence[int]
    ours: float
    peer: str
    theirs: float


def take_turns(
    candidates: Dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> Dict[str, float]:
    """Median time of a call of each candidate, in milliseconds."""

    def timed(candidate: Callable[[], object]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        candidate()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    calls = {}
    for name, candidate in candidates.items():
        candidate()
        calls[name] = max(1, min(50, int(TURN_SECONDS / timed(candidate))))
    times: Dict[str, List[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            candidate()
            times[name] += [timed(candidate) for _ in range(calls[name])]
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def compare(
    what: str,
    shape: Sequence[int],
    candidates: Dict[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
) -> List[Comparison]:
    """The first candidate is ours, the others are its peers."""
    (_, ours), *peers = take_turns(candidates, rounds, device).items()
    return [Comparison(what, shape, ours, peer, theirs) for peer, theirs in peers]


def scan(
    shapes: Optional[Sequence[Sequence[int]]] = None,
    rounds: int = 7,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    activation: str = "tanh",
) -> List[Comparison]:
    """The recurrence against the eager loop and a copy of as many bytes.

    Forward and backward read k, q and v twice, the state and its gradient once, and write the
    state and three gradients: twelve T x B x H tensors in all. Copying six moves as much.

    Args:
        shapes: T, B, H of each comparison; the ones of docs/kernels.md if not given.
        rounds: turns of each candidate.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: of all tensors.
        activation: ``"tanh"`` or ``"identity"``.

    Returns:
        a comparison for each shape and peer, times in milliseconds.
    """
    place = torch.device(device)
    options = {"device": place, "dtype": dtype}
    results = []
    for time_steps, batch, hidden in shapes or default_shapes(SCAN_SHAPES, place):
        kqv = torch.randn(time_steps, batch, 3 * hidden, **options).requires_grad_()
        h0 = torch.randn(batch, hidden, **options).requires_grad_()
        grad_h = torch.randn(time_steps, batch, hidden, **options)
        source = torch.randn(6, time_steps, batch, hidden, **options)
        target = torch.empty_like(source)

        def train(backend=None, kqv=kqv, h0=h0, grad_h=grad_h):
            h = lrn_scan(kqv, h0, activation=activation, backend=backend)
            torch.autograd.grad(h, (kqv, h0), grad_h)

        candidates = {
            "ours": train,
            "eager loop": lambda train=train: train("reference"),
            "copy": lambda source=source, target=target: target.copy_(source),
        }
        shape = (time_steps, batch, hidden)
        results += compare("scan, forward + backward", shape, candidates, rounds, place)
    results += _step(rounds, place, options, activation)
    return results


def _step(
    rounds: int, device: torch.device, options: Dict[str, object], activation: str
) -> List[Comparison]:
    time_steps, batch, hidden = STEP_SHAPE
    kqv = torch.randn(time_steps, batch, 3 * hidden, **options)
    h0 = torch.randn(batch, hidden, **options)
    function = {"tanh": torch.tanh, "identity": lambda h: h}[activation]

    def eager():
        # The bare step, without the reference's care for masks and types.
        k, q, v = kqv[0].chunk(3, dim=-1)
        return function(torch.sigmoid(k + h0) * v + torch.sigmoid(q - h0) * h0)

    with torch.no_grad():
        return compare(
            "scan, one decoding step",
            STEP_SHAPE,
            {"ours": lambda: lrn_scan(kqv, h0, activation=activation), "eager step": eager},
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
    """One layer of LRN, forward and backward, against other recurrent layers of its size.

    And against its own matrix products alone: x W, and those of the gradients of x and W.

    Args:
        shapes: T, B, H of each comparison; the ones of docs/kernels.md if not given.
        rounds: turns of each candidate.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: of all tensors.
        activation: ``"tanh"`` or ``"identity"``.

    Returns:
        a comparison for each shape and peer, times in milliseconds.
    """
    place = torch.device(device)
    options = {"device": place, "dtype": dtype}
    results = []
    for time_steps, batch, hidden in shapes or default_shapes(LAYER_SHAPES, place):
        x = torch.randn(time_steps, batch, hidden, **options).requires_grad_()
        grad_h = torch.randn(time_steps, batch, hidden, **options)
        candidates = {
            name: _training(module.to(**options), x, grad_h)
            for name, module in (
                ("ours", LRN(hidden, hidden, activation=activation)),
                ("LSTM", nn.LSTM(hidden, hidden)),
                ("GRU", nn.GRU(hidden, hidden)),
                *_sru(hidden),
            )
        }
        candidates["matrix products"] = _products(x.detach(), grad_h)
        shape = (time_steps, batch, hidden)
        results += compare("layer, forward + backward", shape, candidates, rounds, place)
    return results


def _training(module: nn.Module, x: Tensor, grad_h: Tensor) -> Callable[[], None]:
    def train():
        module.zero_grad()
        x.grad = None
        module(x)[0].backward(grad_h)

    return train


def _products(x: Tensor, grad_h: Tensor) -> Callable[[], None]:
    x = x.flatten(0, 1)
    weight = torch.randn(3 * x.size(1), x.size(1), dtype=x.dtype, device=x.device)
    grad = grad_h.flatten(0, 1).repeat(1, 3)

    def multiply():
        # Kept until all are there, as training keeps them.
        return torch.mm(x, weight.t()), torch.mm(grad, weight), torch.mm(grad.t(), x)

    return multiply


def _sru(hidden: int) -> list:
    try:
        from sru import SRU
    except ImportError:
        print("SRU is left out: pip install sru")
        return []
    return [("SRU", SRU(hidden, hidden, num_layers=1))]


def default_shapes(shapes: Sequence[Sequence[int]], device: torch.device) -> list:
    """A GPU also gets a shape that fills it."""
    return [*shapes, *(GPU_SHAPES if device.type == "cuda" else ())]


def format_table(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table."""
    rows = ["| what | T, B, H | ours, ms | peer | peer, ms | peer / ours | ours / peer |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for what, shape, ours, peer, theirs in comparisons:
        rows.append(
            f"| {what} | {', '.join(map(str, shape))} | {ours:.3f} | {peer} | {theirs:.3f} "
            f"| {theirs / ours:.2f} | {ours / theirs:.2f} |"
        )
    return "\n".join(rows)


def plot(comparisons: Sequence[Comparison], path: str) -> None:
    """Bars of the time of each peer in units of ours, one panel for each shape.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: matplotlib does not know the format that the name of the file asks for.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups: Dict[tuple, List[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.what, tuple(comparison.shape)), []).append(comparison)
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(7, 0.9 + 1.4 * len(groups)), squeeze=False, layout="constrained"
    )
    for axis, ((what, (time_steps, batch, hidden)), group) in zip(axes[:, 0], groups.items()):
        names = ["ours", *(comparison.peer for comparison in group)]
        ratios = [1.0, *(comparison.theirs / comparison.ours for comparison in group)]
        bars = axis.barh(names, ratios, color=["tab:orange"] + ["tab:blue"] * len(group))
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_title(f"{what}: T={time_steps} B={batch} H={hidden}", fontsize="medium")
    axes[-1, 0].set_xlabel("time of a call, ours = 1 (longer is slower)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
