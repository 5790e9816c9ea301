"""Cross entropy of a linear layer's outputs that never holds all of them.

The logits of a translation model are its largest tensor by far: N x V. fairseq's loss goes over
it about ten times, each time through memory, and matrix products with it are half of the work
of a small model. Here a block of rows at a time is computed, turned into probabilities in place,
used for both gradients while it is still in the cache, and overwritten by the next one. Padding
is left out before anything is computed.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor

# Logits in a block: large enough for matrix products to be at full speed.
BLOCK_ELEMENTS = 5_000_000
MIN_BLOCK_ROWS = 128
# Below this a probability may have lost digits; its logarithm is computed from the logit.
SMALLEST_PROBABILITY = 1e-30


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    ignore_index: Optional[int] = None,
) -> Tuple[Tensor, Tensor]:
    r"""Label-smoothed cross entropy of the logits x W^T, summed over the rows.

    The smoothed distribution is fairseq's: 1 - eps for the target, and eps / (V - 1) for each
    other symbol. Under autocast the matrix products are in its type, the rest is in float32.
    The gradients are computed with the loss, so there is one backward pass at most.

    Args:
        x: features, ``N x C``.
        weight: of the linear layer without bias, ``V x C``.
        target: symbols, ``N``, from 0 to V - 1.
        label_smoothing: eps, at least 0 and below 1.
        ignore_index: rows with this target count for nothing and are not computed.

    Returns:
        the loss and, without gradient, the plain negative log likelihood: sums, in nats.

    Raises:
        ValueError: shapes do not fit, or eps is out of range.
    """
    if x.dim() != 2 or weight.dim() != 2 or x.size(1) != weight.size(1):
        raise ValueError(
            f"x must be N x C and weight V x C, not {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if target.shape != x.shape[:1]:
        raise ValueError(f"target must have the shape {(x.size(0),)}, not {tuple(target.shape)}")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")
    kept: Optional[Tensor] = None
    if ignore_index is not None:
        kept = target.ne(ignore_index).nonzero()[:, 0]
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _LinearCrossEntropy.apply(x, weight, target, kept, label_smoothing, needs_grad)


class _LinearCrossEntropy(torch.autograd.Function):
    """*kept* are the rows that count; None: all."""

    @staticmethod
    def forward(ctx, x, weight, target, kept, eps, needs_grad):
        all_x = x
        if kept is not None:
            x, target = x.index_select(0, kept), target.index_select(0, kept)
        symbols = weight.size(0)
        products = _product_type(x)
        single = torch.float64 if x.dtype == torch.float64 else torch.float32
        rest = eps / max(symbols - 1, 1)
        right = 1.0 - eps - rest
        rows = min(max(MIN_BLOCK_ROWS, BLOCK_ELEMENTS // symbols), max(x.size(0), 1))
        logits = x.new_empty(rows, symbols, dtype=single)
        half = logits if products == single else x.new_empty(rows, symbols, dtype=products)
        grad_x = torch.empty_like(x) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=single) if needs_grad else None
        nll, target_logits = logits.new_zeros(()), logits.new_zeros(())
        w = weight.to(products)
        for start in range(0, x.size(0), rows):
            block = slice(start, start + rows)
            block_x, block_target = x[block].to(products), target[block].unsqueeze(1)
            size = block_x.size(0)
            p, product = logits[:size], half[:size]
            torch.mm(block_x, w.t(), out=product)
            if half is not logits:
                p.copy_(product)
            target_logits += p.gather(1, block_target).sum()
            torch.softmax(p, -1, out=p)
            nll += _nll(p.gather(1, block_target)[:, 0], block_x, w, block_target[:, 0])
            if not needs_grad:
                continue
            # The gradient of the logits, but for label smoothing's constant.
            p.scatter_add_(1, block_target, p.new_full((size, 1), -right))
            if half is logits:
                torch.mm(p, w, out=grad_x[block])
                grad_weight.addmm_(p.t(), block_x)
            else:
                product.copy_(p)
                grad_x[block] = torch.mm(product, w)
                grad_weight += torch.mm(product.t(), block_x)
        sum_x, sum_weight = x.sum(0, dtype=single), weight.sum(0, dtype=single)
        ctx.grads = None
        if needs_grad:
            grad_x -= rest * sum_weight
            grad_weight -= rest * sum_x
            if kept is not None:
                grad_x = torch.zeros_like(all_x).index_copy_(0, kept, grad_x)
            ctx.grads = grad_x, grad_weight.to(weight.dtype)
        ctx.mark_non_differentiable(nll)
        # The sum of -log p over all symbols is V times the log-normaliser, less their logits.
        smooth = symbols * (nll + target_logits) - torch.dot(sum_x, sum_weight)
        return right * nll + rest * smooth, nll

    @staticmethod
    def backward(ctx, grad_loss, _):
        if ctx.grads is None:
            raise RuntimeError(
                "linear_cross_entropy keeps its gradients for one backward pass only: compute "
                "the loss again instead of retain_graph=True"
            )
        (grad_x, grad_weight), ctx.grads = ctx.grads, None
        return grad_x.mul_(grad_loss), grad_weight.mul_(grad_loss), None, None, None, None


def _product_type(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _nll(p: Tensor, x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Sum of -log p of the targets; computed from the logits where p is too small."""
    small = (p < SMALLEST_PROBABILITY).nonzero()[:, 0]
    if small.numel() > 0:
        log_p = torch.log_softmax(torch.mm(x[small], weight.t()).to(p.dtype), -1)
        p[small] = 1.0
        return -p.log().sum() - log_p.gather(1, target[small].unsqueeze(1)).sum()
    return -p.log().sum()
