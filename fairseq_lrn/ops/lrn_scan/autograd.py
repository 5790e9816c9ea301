"""``torch.ops.fairseq_lrn.lrn_scan``: schema, fake kernel, autograd, and the default kernel.

A fused kernel is registered for its device type when it is loaded. Until then, and on any other
device, the default kernel runs. It lets :mod:`fairseq_lrn.ops.dispatch` choose a backend, which may
load a fused kernel, and otherwise computes the reference.

``lrn_scan_parallel`` has the same schema and result. It computes the recurrence in parallel over
time (:mod:`.parallel`).
"""

from functools import partial
from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.lrn_scan import parallel
from fairseq_lrn.ops.lrn_scan.contract import check_backward_call, check_operator_call
from fairseq_lrn.ops.lrn_scan.reference import (
    by_direction,
    lrn_scan_backward_reference,
    lrn_scan_reference,
    scan_each_direction,
)
from fairseq_lrn.ops.precision import is_half, state_dtype
from fairseq_lrn.ops.transforms import is_batched_gradient

# kqv has one tensor for each of D directions, forward then backward; so does bias, unless it is
# empty. h0 is D x B x H, h is T x B x (D*H). In half precision, states is h before rounding;
# otherwise it is empty. "reverse" swaps the directions.
LOOP, PARALLEL = "lrn_scan", "lrn_scan_parallel"
for _name in (LOOP, PARALLEL):
    LIBRARY.define(
        f"{_name}(Tensor[] kqv, Tensor h0, Tensor? padding_mask, Tensor[] bias,"
        " str activation, bool reverse) -> (Tensor h, Tensor states)"
    )
    LIBRARY.define(
        f"{_name}_backward(Tensor grad_h, Tensor[] kqv, Tensor h0, Tensor? padding_mask,"
        " Tensor[] bias, Tensor states, str activation, bool reverse)"
        " -> (Tensor[] grad_kqv, Tensor grad_h0)"
    )


# The functions below take the operators' arguments; *rest is what they only pass on.


def _fake(kqv: List[Tensor], h0: Tensor, *rest: Any) -> Tuple[Tensor, Tensor]:
    time, batch, _ = kqv[0].shape
    h = kqv[0].new_empty(time, batch, len(kqv) * h0.size(-1))
    return h, h.new_empty(h.shape if is_half(h) else (0,), dtype=state_dtype(h))


def _fake_backward(
    grad_h: Tensor, kqv: List[Tensor], h0: Tensor, *rest: Any
) -> Tuple[List[Tensor], Tensor]:
    return [projections.new_empty(projections.shape) for projections in kqv], h0.new_empty(h0.shape)


def _default(kqv: List[Tensor], h0: Tensor, *rest: Any) -> Tuple[Tensor, Tensor]:
    if dispatch.choose(h0.device.type) != "reference":
        # A sparse operand, or one on another device than the others, would come back here.
        check_operator_call(kqv, h0, *rest[:-1])  # reverse needs no check
        return torch.ops.fairseq_lrn.lrn_scan(kqv, h0, *rest)
    return _each(lrn_scan_reference, kqv, h0, *rest)


def _each(scan: Callable[..., Tensor], *arguments: Any) -> Tuple[Tensor, Tensor]:
    """Both outputs of the operator, from a *scan* over one direction."""
    h, states = scan_each_direction(scan, *arguments)
    return h, states if is_half(h) else states.new_empty(0)


def _default_backward(
    grad_h: Tensor,
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
) -> Tuple[List[Tensor], Tensor]:
    arguments = (grad_h, kqv, h0, padding_mask, bias, states, activation, reverse)
    if dispatch.choose(h0.device.type) != "reference":
        check_backward_call(*arguments[:-1])
        return torch.ops.fairseq_lrn.lrn_scan_backward(*arguments)
    return _each_backward(lrn_scan_backward_reference, *arguments)


def _each_backward(
    backward: Callable[..., Tuple[Tensor, Tensor]],
    grad_h: Tensor,
    kqv: Sequence[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Sequence[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
) -> Tuple[List[Tensor], Tensor]:
    check_backward_call(grad_h, kqv, h0, padding_mask, bias, states, activation)
    grads = [
        backward(grad, projections, initial, padding_mask, shift, state, activation, is_reversed)
        for grad, state, projections, initial, shift, is_reversed in zip(
            grad_h.chunk(len(kqv), -1),  # T x B x H for each direction
            states.chunk(len(kqv), -1),
            kqv,
            *by_direction(h0, bias, reverse),
        )
    ]
    return [grad_kqv for grad_kqv, _ in grads], torch.stack([grad_h0 for _, grad_h0 in grads])


class _Scan(torch.autograd.Function):
    """Saves the inputs and the states for the backward pass, and nothing else."""

    @staticmethod
    def forward(ctx, name, h0, padding_mask, activation, reverse, *kqv_and_bias):
        kqv, bias = kqv_and_bias[: len(h0)], kqv_and_bias[len(h0) :]
        with torch._C._AutoDispatchBelowAutograd():
            h, states = getattr(torch.ops.fairseq_lrn, name)(
                kqv, h0, padding_mask, bias, activation, reverse
            )
        if is_half(h):
            ctx.set_materialize_grads(False)  # mostly, h alone has a gradient
        else:
            ctx.mark_non_differentiable(states)
        ctx.save_for_backward(h0, padding_mask, states if is_half(h) else h, *kqv_and_bias)
        ctx.operator, ctx.activation, ctx.reverse = name, activation, reverse
        return h, states

    @staticmethod
    def backward(ctx, grad_h, grad_states):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True: the gradient of the fused lrn_scan cannot be differentiated "
                "again; choose backend='reference' (or set FAIRSEQ_LRN_BACKEND=reference)"
            )
        h0, padding_mask, states, *kqv_and_bias = ctx.saved_tensors
        kqv, bias = kqv_and_bias[: len(h0)], kqv_and_bias[len(h0) :]
        backward = getattr(torch.ops.fairseq_lrn, f"{ctx.operator}_backward")
        if is_half(kqv[0]):
            grads = [grad for grad in (grad_h, grad_states) if grad is not None]
            if not grads:
                return (None,) * len(ctx.needs_input_grad)
            grad_h = sum(grads[1:], grads[0]).to(kqv[0].dtype)
        if is_batched_gradient(grad_h):
            backward = partial(_each_backward, lrn_scan_backward_reference)
        grad_kqv, grad_h0 = backward(
            grad_h, kqv, h0, padding_mask, bias, states, ctx.activation, ctx.reverse
        )
        needed = ctx.needs_input_grad[len(ctx.needs_input_grad) - len(bias) :]
        grad_bias = [
            # Convert first: torch's sum into another type takes ten times as long.
            grad.to(state_dtype(grad)).sum((0, 1)).to(vector.dtype) if is_needed else None
            for grad, vector, is_needed in zip(grad_kqv, bias, needed)
        ]
        return (None, grad_h0, None, None, None, *grad_kqv, *grad_bias)


def _autograd(
    name: str,
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    needed = torch.is_grad_enabled() and any(one.requires_grad for one in (h0, *kqv, *bias))
    # In forward mode, autograd.Function raises an error; skipping it would lose the tangent.
    if needed or torch.autograd.forward_ad._current_level >= 0:
        return _Scan.apply(name, h0, padding_mask, activation, reverse, *kqv, *bias)
    with torch._C._AutoDispatchBelowAutograd():
        operator = getattr(torch.ops.fairseq_lrn, name)
        return operator(kqv, h0, padding_mask, bias, activation, reverse)


for _name, _forward, _backward in (
    (LOOP, _default, _default_backward),
    (
        PARALLEL,
        partial(_each, parallel.lrn_scan_parallel),
        partial(_each_backward, parallel.lrn_scan_parallel_backward),
    ),
):
    LIBRARY.impl(_name, _fake, "Meta")
    LIBRARY.impl(f"{_name}_backward", _fake_backward, "Meta")
    LIBRARY.impl(_name, _forward, "CompositeExplicitAutograd")
    LIBRARY.impl(f"{_name}_backward", _backward, "CompositeExplicitAutograd")
    LIBRARY.impl(_name, partial(_autograd, _name), "Autograd")
