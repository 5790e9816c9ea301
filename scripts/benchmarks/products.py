"""Time float32 matrix products in torch and in oneDNN: ``scripts/benchmark.py products``."""

from typing import Callable, Dict, List, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.operator_speed import take_turns
from benchmarks.rows import markdown_table
from fairseq_lrn.errors import InputError
from fairseq_lrn.ops import products

# N, C, D: rows, inputs, outputs. Projections of layers of 512, 1024 and 128, and an output layer.
SHAPES = ((1920, 512, 1536), (1920, 1024, 3072), (4096, 128, 384), (1920, 512, 8000))


class Product(NamedTuple):
    """A matrix product in both libraries.

    Attributes:
        product: ``"x W^T"`` (forward), ``"dX"`` or ``"dW"`` (the gradients).
        shape: N, C, D.
        torch_ms, onednn_ms: median times, in milliseconds.
    """

    product: str
    shape: Sequence[int]
    torch_ms: float
    onednn_ms: float


def measure(rounds: int = 7, shapes: Sequence[Sequence[int]] = SHAPES) -> List[Product]:
    """Compare the libraries in turns, for the three products of an affine map in training.

    Args:
        rounds: turns of each library.
        shapes: N, C, D of each affine map.

    Raises:
        InputError: this version of torch has no oneDNN.
    """
    if not products.has_onednn():
        raise InputError("this version of torch lacks oneDNN's products: use another version")
    results = []
    for rows, inputs, outputs in shapes:
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        grad = torch.randn(rows, outputs)
        factors = {"x W^T": (x, weight), "dX": (grad, weight.t()), "dW": (grad.t(), x.t())}
        for name, (left, right) in factors.items():
            times = take_turns(_candidates(left, right), rounds, torch.device("cpu"))
            results.append(Product(name, (rows, inputs, outputs), *times.values()))
    return results


def _candidates(left: Tensor, right: Tensor) -> Dict[str, Callable[[], Tensor]]:
    return {
        products.TORCH: lambda: F.linear(left, right),
        products.ONEDNN: lambda: products.onednn_linear(left, right, None),
    }


def format_table(found: Sequence[Product]) -> str:
    """A Markdown table."""
    columns = ("N, C, D", "product", "torch, ms", "oneDNN, ms", "torch / oneDNN", "oneDNN, GFLOP/s")
    rows = []
    for product, shape, torch_ms, onednn_ms in found:
        rate = 2e-6 * shape[0] * shape[1] * shape[2] / onednn_ms
        times = f"{torch_ms:.2f}", f"{onednn_ms:.2f}", f"{torch_ms / onednn_ms:.2f}"
        rows.append((", ".join(map(str, shape)), product, *times, f"{rate:.0f}"))
    return markdown_table(columns, rows, text=("N, C, D", "product"))
