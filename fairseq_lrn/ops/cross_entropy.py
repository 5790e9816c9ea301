"""Cross entropy of a linear layer's outputs. The full logit matrix is never materialised.

The logits of a translation model, N x V, are by far its largest tensor. fairseq's loss reads or
writes them about ten times, each time from memory, and the matrix products with them are half of
the work of a small model. This operator computes one block of rows at a time, turns it into
probabilities in place, uses it for both gradients, and overwrites it with the next block. Padding
is removed before anything is computed.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.precision import matmul_dtype
from fairseq_lrn.ops.products import mm, multiplies_in_onednn
from fairseq_lrn.ops.transforms import is_batched_gradient, is_transforming

# Bytes of a block of logits. A small block is cheap to write and to read again; with few blocks,
# the sum of their gradients of the weight is cheap.
BLOCK_BYTES = 40_000_000
MIN_BLOCK_ROWS = 128
# In half precision, a CPU multiplies this many rows at a time; more rows take longer per row.
PRODUCT_ROWS = 512
# logits: P*N x V, for P passes over N rows with the same targets. They are replaced in place by the
# gradient of their cross entropy, p - right at the target and p elsewhere. For a pair of passes,
# rdrop_weight times the gradient of both divergences is added. Results: -log p of the targets and
# the targets' logits, P*N each, and the mean of the divergences, N, in float32 or wider.
LIBRARY.define(
    "softmax_gradient_(Tensor(a!) logits, Tensor target, float right, float rdrop_weight,"
    " bool pair, bool gradient) -> (Tensor nll, Tensor target_logits, Tensor divergence)"
)


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    ignore_index: Optional[int] = None,
    rdrop_alpha: float = 0.0,
) -> Tuple[Tensor, Tensor, Tensor]:
    r"""Label-smoothed cross entropy of the logits x W^T, summed over the rows.

    The smoothed distribution is fairseq's: 1 - eps for the target, and eps / (V - 1) for each
    other token. Under autocast, the matrix products use autocast's type; the rest is float32.
    The gradients are computed together with the loss, so only one backward pass is possible.

    With *rdrop_alpha*, R-Drop (Liang et al., 2021) compares two passes over the same rows with
    different dropout masks. The loss is the sum of both cross entropies plus alpha times the mean
    of the two Kullback-Leibler divergences between the passes.

    Args:
        x: features, ``N x C``; for two passes ``2 x N x C``.
        weight: weight of the linear layer, which has no bias, ``V x C``.
        target: token indices, ``N``, from 0 to V - 1.
        label_smoothing: eps, at least 0 and below 1.
        ignore_index: rows with this target are skipped.
        rdrop_alpha: alpha; above 0, *x* must have two passes.

    Returns:
        the loss; and, without gradients, the negative log-likelihood (of both passes) and the
        mean of the divergences. All three are sums over the rows, in nats.

    Raises:
        ValueError: shapes do not fit, or a number is out of range.
        TypeError: *target* does not hold 64-bit integers.
        IndexError, RuntimeError: a target is outside of the vocabulary.
        RuntimeError: a ``torch.func`` transform or forward-mode autograd is active.
    """
    if is_transforming():
        raise RuntimeError(
            "linear_cross_entropy supports neither torch.func nor forward-mode derivatives; "
            "compute the loss from the logits instead"
        )
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
    if weight.numel() == 0:
        raise ValueError(f"weight must not be empty, but its shape is {tuple(weight.shape)}")
    if target.dtype != torch.int64:
        raise TypeError(f"target must be torch.int64, not {target.dtype}")
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
    """*x* is ``passes x N x C``; *kept* holds the indices of the rows to use; None: all rows."""

    @staticmethod
    def forward(ctx, x, weight, target, kept, eps, rdrop_alpha, needs_grad):
        all_x = x
        if kept is not None:
            x, target = x.index_select(1, kept), target.index_select(0, kept)
        passes, count, _ = x.shape
        vocab_size = weight.size(0)
        products = matmul_dtype(x)
        single = torch.float64 if x.dtype == torch.float64 else torch.float32
        rest = eps / max(vocab_size - 1, 1)
        right = 1.0 - eps - rest
        rows = max(MIN_BLOCK_ROWS, BLOCK_BYTES // (vocab_size * products.itemsize)) // passes
        rows = min(rows, max(count, 1))
        grad_x = torch.empty_like(x) if needs_grad else None
        nll, target_logits, divergence = (x.new_zeros((), dtype=single) for _ in range(3))
        w = weight.to(products)
        half = products != single
        in_onednn = not half and multiplies_in_onednn(x[:, :rows], w)
        # oneDNN returns a new tensor; the other products write into this one, block after block.
        logits = x.new_empty(0 if in_onednn else passes * rows, vocab_size, dtype=products)
        # On a CPU, products in half precision take longer if a factor is a transposed view.
        in_pieces = half and x.device.type == "cpu"
        w_t = w.t().contiguous() if in_pieces else w.t()
        # Transposed, the factor that is copied for the product is the small one.
        transposed = half or in_onednn
        grad_w = torch.zeros_like(w_t if transposed else w, dtype=single) if needs_grad else None
        for start in range(0, count, rows):
            block = slice(start, start + rows)
            block_x = x[:, block].to(products).flatten(0, 1)
            if in_onednn:
                product = mm(block_x, w_t)
            else:
                product = logits[: block_x.size(0)]
                step = PRODUCT_ROWS if in_pieces else rows * passes
                for part_x, part in zip(block_x.split(step), product.split(step)):
                    torch.mm(part_x, w_t, out=part)
            # This replaces the logits by their gradient, except for label smoothing's constant.
            sums = softmax_gradient_(
                product, target[block], right, rdrop_alpha / 2, passes == 2, needs_grad
            )
            for total, part in zip((nll, target_logits, divergence), sums):
                total += part.sum()
            if not needs_grad:
                continue
            grad_x[:, block] = mm(product, w).view(passes, -1, x.size(2))
            if transposed:
                grad_w += mm(block_x.t().contiguous(), product)
            else:
                grad_w.addmm_(product.t(), block_x)
        sum_x, sum_weight = x.sum((0, 1), dtype=single), weight.sum(0, dtype=single)
        ctx.grads = None
        if needs_grad:
            grad_x -= rest * sum_weight
            grad_w = grad_w.t().contiguous() if transposed else grad_w
            grad_w -= rest * sum_x
            if kept is not None:
                grad_x = torch.zeros_like(all_x).index_copy_(1, kept, grad_x)
            ctx.grads = grad_x, grad_w.to(weight.dtype)
        ctx.mark_non_differentiable(nll, divergence)
        # The sum of -log p over the vocabulary is V times the log-normaliser minus all logits.
        smooth = vocab_size * (nll + target_logits) - torch.dot(sum_x, sum_weight)
        return right * nll + rest * smooth + rdrop_alpha * divergence, nll, divergence

    @staticmethod
    def backward(ctx, grad_loss, *_):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True: linear_cross_entropy has no second derivatives; compute the "
                "loss from the logits instead"
            )
        if is_batched_gradient(grad_loss):
            raise RuntimeError(
                "linear_cross_entropy has no batched gradients; compute the loss from the logits "
                "instead"
            )
        if ctx.grads is None:
            raise RuntimeError(
                "linear_cross_entropy keeps its gradients for one backward pass only: compute "
                "the loss again instead of using retain_graph=True"
            )
        (grad_x, grad_weight), ctx.grads = ctx.grads, None
        return grad_x.mul_(grad_loss), grad_weight.mul_(grad_loss), None, None, None, None, None


def softmax_gradient_(
    logits: Tensor, target: Tensor, right: float, rdrop_weight: float, pair: bool, gradient: bool
) -> Tuple[Tensor, Tensor, Tensor]:
    """The operator of the same name, defined above; fused if the device has a kernel for it."""
    if dispatch.choose(logits.device.type) == "cpp":
        return torch.ops.fairseq_lrn.softmax_gradient_(
            logits, target, right, rdrop_weight, pair, gradient
        )
    target = target.repeat(2 if pair else 1).unsqueeze(1)  # P*N x 1
    log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)
    nll, target_logits = -log_p.gather(1, target), logits.gather(1, target).to(log_p.dtype)
    p = log_p.exp()
    grad, divergence = p, log_p.new_zeros(())
    if pair:
        difference, gap = torch.sub(*log_p.chunk(2)), torch.sub(*p.chunk(2))
        signed, gaps = torch.cat([difference, -difference]), torch.cat([gap, -gap])
        divergences = (p * signed).sum(-1, keepdim=True)
        divergence = divergences.view(2, -1).mean(0)
        # d KL(a || b) / d logits of a = p_a (log p_a - log p_b - KL(a || b)); of b: p_b - p_a.
        grad = p + rdrop_weight * (p * (signed - divergences) + gaps)
    if gradient:
        logits.copy_(grad.scatter_add(1, target, grad.new_full(target.shape, -right)))
    return nll[:, 0], target_logits[:, 0], divergence
