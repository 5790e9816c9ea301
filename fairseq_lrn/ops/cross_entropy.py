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
    rdrop_alpha: float = 0.0,
) -> Tuple[Tensor, Tensor, Tensor]:
    r"""Label-smoothed cross entropy of the logits x W^T, summed over the rows; perhaps R-Drop.

    The smoothed distribution is fairseq's: 1 - eps for the target, and eps / (V - 1) for each
    other symbol. Under autocast the matrix products are in its type, the rest is in float32.
    The gradients are computed with the loss, so there is one backward pass at most.

    R-Drop (Liang et al., 2021) compares two passes over the same rows, with other dropout masks:
    to the cross entropies of both, alpha times the mean of their two Kullback-Leibler divergences
    is added.

    Args:
        x: features, ``N x C``; two passes: ``2 x N x C``.
        weight: of the linear layer without bias, ``V x C``.
        target: symbols, ``N``, from 0 to V - 1.
        label_smoothing: eps, at least 0 and below 1.
        ignore_index: rows with this target count for nothing and are not computed.
        rdrop_alpha: alpha, for two passes.

    Returns:
        the loss and, without gradients, the plain negative log likelihood (of both passes) and
        the mean of the divergences: sums over the rows, in nats.

    Raises:
        ValueError: shapes do not fit, or a number is out of range.
    """
    passes = 2 if rdrop_alpha > 0.0 else 1
    if x.dim() == 2:
        x = x.unsqueeze(0)
    if x.dim() != 3 or x.size(0) != passes:
        raise ValueError(
            f"x must be {'2 x ' if passes == 2 else ''}N x C with rdrop_alpha={rdrop_alpha}, not "
            f"{tuple(x.shape)}"
        )
    if weight.dim() != 2 or x.size(2) != weight.size(1):
        raise ValueError(f"weight must be V x {x.size(2)}, not {tuple(weight.shape)}")
    if target.shape != x.shape[1:2]:
        raise ValueError(f"target must have the shape {(x.size(1),)}, not {tuple(target.shape)}")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")
    if rdrop_alpha < 0.0:
        raise ValueError(f"rdrop_alpha must be at least 0, not {rdrop_alpha}")
    kept: Optional[Tensor] = None
    if ignore_index is not None:
        kept = target.ne(ignore_index).nonzero()[:, 0]
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _LinearCrossEntropy.apply(
        x, weight, target, kept, label_smoothing, rdrop_alpha, needs_grad
    )


class _LinearCrossEntropy(torch.autograd.Function):
    """*x* is ``passes x N x C``; *kept* are the rows that count; None: all."""

    @staticmethod
    def forward(ctx, x, weight, target, kept, eps, rdrop_alpha, needs_grad):
        all_x = x
        if kept is not None:
            x, target = x.index_select(1, kept), target.index_select(0, kept)
        passes, count, _ = x.shape
        symbols = weight.size(0)
        products = _product_type(x)
        single = torch.float64 if x.dtype == torch.float64 else torch.float32
        rest = eps / max(symbols - 1, 1)
        right = 1.0 - eps - rest
        rows = min(max(MIN_BLOCK_ROWS, BLOCK_ELEMENTS // symbols) // passes, max(count, 1))
        logits = x.new_empty(passes * rows, symbols, dtype=single)
        half = logits if products == single else x.new_empty(logits.shape, dtype=products)
        grad_x = torch.empty_like(x) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=single) if needs_grad else None
        nll, target_logits, divergence = (logits.new_zeros(()) for _ in range(3))
        w = weight.to(products)
        for start in range(0, count, rows):
            block = slice(start, start + rows)
            block_x = x[:, block].to(products).flatten(0, 1)
            block_target = target[block].repeat(passes).unsqueeze(1)
            size = block_x.size(0)
            p, product = logits[:size], half[:size]
            torch.mm(block_x, w.t(), out=product)
            if half is not logits:
                p.copy_(product)
            target_logit = p.gather(1, block_target)
            difference = torch.sub(*p.chunk(2)) if passes == 2 else None
            torch.softmax(p, -1, out=p)
            row_nll = _nll(p.gather(1, block_target), block_x, w, block_target)
            target_logits += target_logit.sum()
            nll += row_nll.sum()
            if difference is not None:
                difference -= torch.sub(*(target_logit + row_nll).chunk(2))
                divergence += _rdrop_(p, difference, rdrop_alpha / 2, needs_grad)
            if not needs_grad:
                continue
            # The gradient of the logits, but for label smoothing's constant.
            p.scatter_add_(1, block_target, p.new_full((size, 1), -right))
            if half is not logits:
                product.copy_(p)
            grad_x[:, block] = torch.mm(product, w).view(passes, -1, x.size(2))
            if half is logits:
                grad_weight.addmm_(product.t(), block_x)
            else:
                grad_weight += torch.mm(product.t(), block_x)
        sum_x, sum_weight = x.sum((0, 1), dtype=single), weight.sum(0, dtype=single)
        ctx.grads = None
        if needs_grad:
            grad_x -= rest * sum_weight
            grad_weight -= rest * sum_x
            if kept is not None:
                grad_x = torch.zeros_like(all_x).index_copy_(1, kept, grad_x)
            ctx.grads = grad_x, grad_weight.to(weight.dtype)
        ctx.mark_non_differentiable(nll, divergence)
        # The sum of -log p over all symbols is V times the log-normaliser, less their logits.
        smooth = symbols * (nll + target_logits) - torch.dot(sum_x, sum_weight)
        return right * nll + rest * smooth + rdrop_alpha * divergence, nll, divergence

    @staticmethod
    def backward(ctx, grad_loss, *_):
        if ctx.grads is None:
            raise RuntimeError(
                "linear_cross_entropy keeps its gradients for one backward pass only: compute "
                "the loss again instead of retain_graph=True"
            )
        (grad_x, grad_weight), ctx.grads = ctx.grads, None
        return grad_x.mul_(grad_loss), grad_weight.mul_(grad_loss), None, None, None, None, None


def _product_type(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _nll(p: Tensor, x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """-log p of the targets, ``rows x 1``; computed from the logits where p is too small."""
    nll = -p.log()
    small = (p[:, 0] < SMALLEST_PROBABILITY).nonzero()[:, 0]
    if small.numel() > 0:
        log_p = torch.log_softmax(torch.mm(x[small], weight.t()).to(p.dtype), -1)
        nll[small] = -log_p.gather(1, target[small])
    return nll


def _rdrop_(p: Tensor, difference: Tensor, weight: float, needs_grad: bool) -> Tensor:
    """Mean of KL(a || b) and KL(b || a), summed over the rows.

    In place, the probabilities *p* of passes a and b (``2*rows x V``) become the gradient of
    cross entropy (p itself) and *weight* times both divergences; *difference* is log a - log b.
    """
    a, b = p.chunk(2)
    a_to_b = torch.linalg.vecdot(a, difference).unsqueeze(1)
    b_to_a = -torch.linalg.vecdot(b, difference).unsqueeze(1)
    if needs_grad:
        # d KL(a || b) / d logits of a = a (log a - log b - KL(a || b)); of b: b - a.
        gap = torch.sub(a, b)
        a.mul_((difference - a_to_b).mul_(weight).add_(1.0)).add_(gap, alpha=weight)
        b.mul_((difference.add_(b_to_a)).mul_(-weight).add_(1.0)).sub_(gap, alpha=weight)
    return 0.5 * (a_to_b.sum() + b_to_a.sum())
