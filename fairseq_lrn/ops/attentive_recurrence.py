"""Two LRN cells with additive attention between them, over a whole sequence, forward and backward.

The loop is sequential, and autograd would make it slow: it computes the gradient of each weight
anew at every step and adds it to the others. Here, a step computes the gradients of its states
alone, and the gradients of the weights follow after the loop, each in one matrix product over all
steps. The two weights inside the loop are packed once for all steps.
:class:`~fairseq_lrn.modules.conditional.AttentiveRecurrence` is the reference implementation.
"""

from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops.additive_attention import has_additive_attention
from fairseq_lrn.ops.precision import matmul_dtype
from fairseq_lrn.ops.products import PackedProduct, mm
from fairseq_lrn.ops.transforms import is_batched_gradient


class NormedMap(NamedTuple):
    """An affine map in the loop: layer norm of x W^T, if there is a gain, plus the bias.

    Attributes:
        weight: ``D x C``.
        gain, shift: of the layer norm, ``D``; None without a norm.
    """

    weight: Tensor
    gain: Optional[Tensor]
    shift: Optional[Tensor]


def can_fuse(x: Tensor) -> bool:
    """Whether :func:`attentive_recurrence` computes inputs of the device and type of *x*, now."""
    return has_additive_attention(x) and matmul_dtype(x) == torch.float32


def attentive_recurrence(
    projected: Tensor,
    state: Tensor,
    memory: Tensor,
    keys: Tensor,
    score_bias: Tensor,
    padding_mask: Optional[Tensor],
    lower_bias: Optional[Tensor],
    vector: Tensor,
    query: NormedMap,
    query_bias: Tensor,
    upper: NormedMap,
    upper_bias: Optional[Tensor],
    activation: str,
    heads: int,
    eps: float,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Run the recurrence over a sequence of at least one step.

    At each step, the lower cell reads its projection, attention reads the memory with the new state
    as the query, and the upper cell reads the context. Source: the authors' toolkit (bzhangGo/zero,
    ``rnns/rnn.py: cond_rnn``).

    Args:
        projected: projections of the lower cell, ``T x B x G``, for 3H (LRN) or 4H (oLRN) gates G.
        state: initial state, ``B x H``.
        memory: ``S x B x M``.
        keys: ``B x S x M``.
        score_bias: added to the scores, ``B x S``. Its gradient is zero: a shift of all scores
            changes no weight, and masks are constant.
        padding_mask: ``T x B``, true at padding, where the state is carried.
        lower_bias, upper_bias: biases of the cells, ``G``.
        vector: ``M / heads``, which turns the inner activations into scores.
        query: map from the state to the query, ``M x H``.
        query_bias: ``M``.
        upper: map from the context to the gates of the upper cell, ``G x M``.
        activation: ``"tanh"`` or ``"identity"``.
        heads: number of attention heads.
        eps: epsilon of the layer norms.

    Returns:
        output ``T x B x H``, contexts ``T x B x M`` and attention weights ``T x B x S x heads``.

    Raises:
        RuntimeError: shapes do not fit, or a tensor is not float32.
    """
    return _AttentiveRecurrence.apply(
        (activation, heads, eps, torch.is_grad_enabled()), padding_mask, score_bias, projected,
        state, memory, keys, vector, query_bias, lower_bias, upper_bias, *query, *upper,
    )  # fmt: skip


class _Norm:
    """A layer norm of one step at a time, whose gains and shifts get their gradients at the end."""

    def __init__(self, gain: Optional[Tensor], shift: Optional[Tensor], eps: float):
        self.gain, self.shift, self.eps = gain, shift, eps
        self.shape = [] if gain is None else list(gain.shape)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """The normalised rows, their means and their inverse deviations."""
        if self.gain is None:
            return x, x.new_empty(0), x.new_empty(0)
        return torch.native_layer_norm(x, self.shape, self.gain, self.shift, self.eps)

    def backward(self, grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """The gradient of a step's rows."""
        return self._backward(grad, x, mean, scale, [True, False, False])[0]

    def parameter_gradients(self, grads: Tensor, x: Tensor, mean: Tensor, scale: Tensor):
        """The gradients of gain and shift, from the tensors of all steps."""
        return self._backward(grads, x, mean, scale, [False, True, self.shift is not None])[1:]

    def _backward(self, grad, x, mean, scale, wanted):
        if self.gain is None:
            return grad, None, None
        return torch.ops.aten.native_layer_norm_backward(
            grad, x, self.shape, mean, scale, self.gain, self.shift, wanted
        )


class _AttentiveRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, options, padding_mask, score_bias, projected, state, memory, keys, vector, query_bias,
        lower_bias, upper_bias, query_weight, query_gain, query_shift, upper_weight, upper_gain,
        upper_shift,
    ):  # fmt: skip
        activation, heads, eps, has_backward = options
        memory, vector, state = memory.contiguous(), vector.contiguous(), state.contiguous()
        keys, score_bias = keys.contiguous(), score_bias.contiguous()
        steps, rows = projected.shape[:2]
        multiply_query = PackedProduct(query_weight, rows, steps)
        multiply_upper = PackedProduct(upper_weight, rows, steps)
        query_norm = _Norm(query_gain, query_shift, eps)
        upper_norm = _Norm(upper_gain, upper_shift, eps)
        biases = [[] if bias is None else [bias] for bias in (lower_bias, upper_bias)]
        previous = state
        saved: List[Tuple[Tensor, ...]] = []
        for t in range(steps):
            mask = None if padding_mask is None else padding_mask[t : t + 1]
            middle = _cell_step(projected[t], previous, mask, biases[0], activation)
            query_product = multiply_query(middle)
            query, *query_moments = query_norm.forward(query_product)
            query = query + query_bias
            context, weights = torch.ops.fairseq_lrn.additive_attention(
                query, keys, memory, vector, score_bias, heads
            )
            upper_product = multiply_upper(context)
            upper, *upper_moments = upper_norm.forward(upper_product)
            previous = _cell_step(upper, middle, mask, biases[1], activation)
            results = (previous, context, weights)
            if has_backward:
                results += (middle, query_product, *query_moments, query)
                results += (upper_product, *upper_moments, upper)
            saved.append(results)
        # T x B x ... each
        outputs, contexts, weights, *stacked = (torch.stack(tensors) for tensors in zip(*saved))
        if not has_backward:
            return outputs, contexts, weights
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            padding_mask, score_bias, projected, state, memory, keys, vector, lower_bias,
            upper_bias, query_weight, query_gain, query_shift, upper_weight, upper_gain,
            upper_shift, outputs, contexts, weights, *stacked,
        )  # fmt: skip
        return outputs, contexts, weights

    @staticmethod
    def backward(ctx, grad_outputs, grad_contexts, grad_weights):
        if torch.is_grad_enabled() or any(
            grad is not None and is_batched_gradient(grad)
            for grad in (grad_outputs, grad_contexts, grad_weights)
        ):
            raise RuntimeError(
                "the gradient of the fused attentive recurrence can be neither differentiated "
                "again (create_graph=True) nor batched: set FAIRSEQ_LRN_BACKEND=reference"
            )
        activation, heads, eps, _ = ctx.options
        (
            padding_mask, score_bias, projected, state, memory, keys, vector, lower_bias,
            upper_bias, query_weight, query_gain, query_shift, upper_weight, upper_gain,
            upper_shift, outputs, contexts, weights, middles, query_products, query_means,
            query_scales, queries, upper_products, upper_means, upper_scales, uppers,
        ) = ctx.saved_tensors  # fmt: skip
        steps, rows = projected.shape[:2]
        multiply_query = PackedProduct(query_weight.t(), rows, steps)
        multiply_upper = PackedProduct(upper_weight.t(), rows, steps)
        query_norm = _Norm(query_gain, query_shift, eps)
        upper_norm = _Norm(upper_gain, upper_shift, eps)
        biases = [[] if bias is None else [bias] for bias in (lower_bias, upper_bias)]
        grad_keys = torch.zeros_like(keys)
        grad_vectors = memory.new_zeros(memory.shape[1:])  # B x M
        if grad_contexts is not None:
            grad_contexts = grad_contexts.contiguous()
        if grad_weights is not None:
            grad_weights = grad_weights.contiguous()
        grad_state = torch.zeros_like(state)
        saved: List[Tuple[Tensor, ...]] = []
        for t in reversed(range(steps)):
            mask = None if padding_mask is None else padding_mask[t : t + 1]
            if grad_outputs is not None:
                grad_state = grad_state + grad_outputs[t]
            grad_upper, grad_state = _cell_gradient(
                grad_state, uppers[t], middles[t], mask, biases[1], outputs[t], activation
            )
            grad_product = upper_norm.backward(
                grad_upper, upper_products[t], upper_means[t], upper_scales[t]
            )
            grad_context = multiply_upper(grad_product)
            if grad_contexts is not None:
                grad_context = grad_context + grad_contexts[t]
            grad_query = torch.ops.fairseq_lrn.additive_attention_backward(
                grad_context, None if grad_weights is None else grad_weights[t], queries[t], keys,
                memory, vector, score_bias, weights[t], heads, grad_keys, grad_vectors,
            )  # fmt: skip
            grad_query_product = query_norm.backward(
                grad_query, query_products[t], query_means[t], query_scales[t]
            )
            grad_state = grad_state + multiply_query(grad_query_product)
            before = outputs[t - 1] if t > 0 else state
            grad_lower, grad_state = _cell_gradient(
                grad_state, projected[t], before, mask, biases[0], middles[t], activation
            )
            saved.append(
                (
                    *(grad_lower, grad_query, grad_query_product),
                    *(grad_context, grad_upper, grad_product),
                )
            )
        grad_lowers, grad_queries, grad_query_products, grad_context, grad_uppers, grad_products = (
            torch.stack(tensors)
            for tensors in zip(*reversed(saved))  # T x B x ... each
        )
        # The memory's gradient, for each head: (S x T) (T x size), of all sentences at once.
        by_head = grad_context.view(steps, rows, heads, -1)  # T x B x M to T x B x heads x size
        grad_memory = torch.matmul(weights.permute(1, 3, 2, 0), by_head.permute(1, 2, 0, 3))
        # B x heads x S x size to S x B x M
        grad_memory = grad_memory.permute(2, 0, 1, 3).reshape(memory.shape)
        return (
            None, None, torch.zeros_like(score_bias), grad_lowers, grad_state, grad_memory,
            grad_keys, grad_vectors.view(-1, vector.numel()).sum(0),
            grad_queries.sum((0, 1)),
            None if lower_bias is None else grad_lowers.sum((0, 1)),
            None if upper_bias is None else grad_uppers.sum((0, 1)),
            mm(grad_query_products.flatten(0, 1).t(), middles.flatten(0, 1)),
            *query_norm.parameter_gradients(
                grad_queries, query_products, query_means, query_scales
            ),
            mm(grad_products.flatten(0, 1).t(), contexts.flatten(0, 1)),
            *upper_norm.parameter_gradients(grad_uppers, upper_products, upper_means, upper_scales),
        )  # fmt: skip


def _cell_step(
    projected: Tensor,
    state: Tensor,
    mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
) -> Tensor:
    """The next state, ``B x H``, from the projection ``B x G``; *mask* is ``1 x B``."""
    h, _ = torch.ops.fairseq_lrn.lrn_scan(
        [projected.unsqueeze(0)], state.unsqueeze(0), mask, bias, activation, False
    )
    return h[0]


def _cell_gradient(
    grad: Tensor,
    projected: Tensor,
    state: Tensor,
    mask: Optional[Tensor],
    bias: List[Tensor],
    next_state: Tensor,
    activation: str,
) -> Tuple[Tensor, Tensor]:
    """The gradients of projection and state, from the gradient of the next state."""
    (grad_projected,), grad_state = torch.ops.fairseq_lrn.lrn_scan_backward(
        grad.unsqueeze(0), [projected.unsqueeze(0)], state.unsqueeze(0), mask, bias,
        next_state.unsqueeze(0), activation, False,
    )  # fmt: skip
    return grad_projected[0], grad_state[0]
