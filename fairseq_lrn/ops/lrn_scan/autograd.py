"""``torch.ops.fairseq_lrn.lrn_scan``: schema, fake kernel, autograd, and the default kernel.

A fused kernel is registered for its kind of device when it is loaded. Until then, and on any
other device, the default kernel runs: it has the choice made (:mod:`.dispatch`), which may load
one, and otherwise computes the reference.
"""

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.lrn_scan.reference import (
    check_operands,
    is_half,
    lrn_scan_backward_reference,
    lrn_scan_reference,
    state_dtype,
)

LIBRARY = torch.library.Library("fairseq_lrn", "DEF")

# kqv has one tensor for each of D directions, forward then backward, and so has bias, unless it
# is empty; h0 is D x B x H, h is T x B x (D*H). The second result is h before it was rounded
# where h is half precision, and empty elsewhere. "reverse" turns the directions around.
LIBRARY.define(
    "lrn_scan(Tensor[] kqv, Tensor h0, Tensor? padding_mask, Tensor[] bias,"
    " str activation, bool reverse) -> (Tensor h, Tensor states)"
)
LIBRARY.define(
    "lrn_scan_backward(Tensor grad_h, Tensor[] kqv, Tensor h0, Tensor? padding_mask,"
    " Tensor[] bias, Tensor states, str activation, bool reverse)"
    " -> (Tensor[] grad_kqv, Tensor grad_h0)"
)


def _fake(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    time, batch, _ = kqv[0].shape
    h = kqv[0].new_empty(time, batch, len(kqv) * h0.size(-1))
    return h, h.new_empty(h.shape if is_half(h) else (0,), dtype=state_dtype(h))


def _fake_backward(
    grad_h: Tensor,
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
) -> Tuple[List[Tensor], Tensor]:
    return [one.new_empty(one.shape) for one in kqv], h0.new_empty(h0.shape)


def _default(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    check_operands(kqv, h0, padding_mask, bias, activation)
    if dispatch.choose(h0.device.type) != "reference":
        return torch.ops.fairseq_lrn.lrn_scan(kqv, h0, padding_mask, bias, activation, reverse)
    states = torch.cat(
        [
            lrn_scan_reference(
                one.to(state_dtype(one)), initial, padding_mask, shift, activation, turned
            )
            for one, initial, shift, turned in zip(kqv, *_directions(h0, bias, reverse))
        ],
        dim=-1,
    )
    if is_half(kqv[0]):
        return states.to(kqv[0].dtype), states
    return states, states.new_empty(0)


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
    if dispatch.choose(h0.device.type) != "reference":
        return torch.ops.fairseq_lrn.lrn_scan_backward(
            grad_h, kqv, h0, padding_mask, bias, states, activation, reverse
        )
    grads = [
        lrn_scan_backward_reference(
            grad, one, initial, padding_mask, shift, state, activation, turned
        )
        for grad, state, one, initial, shift, turned in zip(
            grad_h.chunk(len(kqv), -1),
            states.chunk(len(kqv), -1),
            kqv,
            *_directions(h0, bias, reverse),
        )
    ]
    return [grad_kqv for grad_kqv, _ in grads], torch.stack([grad_h0 for _, grad_h0 in grads])


def _directions(h0: Tensor, bias: Sequence[Tensor], reverse: bool) -> tuple:
    """For each direction its initial state, its bias or None, and whether it runs backwards."""
    return h0, bias or [None] * len(h0), (reverse, not reverse)


class _Scan(torch.autograd.Function):
    """Saves the inputs and the states, nothing else."""

    @staticmethod
    def forward(ctx, h0, padding_mask, activation, reverse, *kqv_and_bias):
        kqv, bias = kqv_and_bias[: len(h0)], kqv_and_bias[len(h0) :]
        with torch._C._AutoDispatchBelowAutograd():
            h, states = torch.ops.fairseq_lrn.lrn_scan(
                kqv, h0, padding_mask, bias, activation, reverse
            )
        ctx.mark_non_differentiable(states)
        ctx.save_for_backward(h0, padding_mask, states if is_half(h) else h, *kqv_and_bias)
        ctx.activation, ctx.reverse = activation, reverse
        return h, states

    @staticmethod
    def backward(ctx, grad_h, _):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True: the gradient of the fused lrn_scan cannot be differentiated "
                "again; choose backend='reference' (or set FAIRSEQ_LRN_BACKEND=reference)"
            )
        h0, padding_mask, states, *kqv_and_bias = ctx.saved_tensors
        kqv, bias = kqv_and_bias[: len(h0)], kqv_and_bias[len(h0) :]
        grad_kqv, grad_h0 = torch.ops.fairseq_lrn.lrn_scan_backward(
            grad_h, kqv, h0, padding_mask, bias, states, ctx.activation, ctx.reverse
        )
        needed = ctx.needs_input_grad[len(ctx.needs_input_grad) - len(bias) :]
        grad_bias = [
            # Converted first: torch's sum into another type takes ten times as long.
            grad.to(state_dtype(grad)).sum((0, 1)).to(one.dtype) if need else None
            for grad, one, need in zip(grad_kqv, bias, needed)
        ]
        return (grad_h0, None, None, None, *grad_kqv, *grad_bias)


def _autograd(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    needed = torch.is_grad_enabled() and any(one.requires_grad for one in (h0, *kqv, *bias))
    # In forward mode the function says that it cannot; going past it would lose the tangent.
    if needed or torch.autograd.forward_ad._current_level >= 0:
        return _Scan.apply(h0, padding_mask, activation, reverse, *kqv, *bias)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.fairseq_lrn.lrn_scan(kqv, h0, padding_mask, bias, activation, reverse)


LIBRARY.impl("lrn_scan", _fake, "Meta")
LIBRARY.impl("lrn_scan_backward", _fake_backward, "Meta")
LIBRARY.impl("lrn_scan", _default, "CompositeExplicitAutograd")
LIBRARY.impl("lrn_scan_backward", _default_backward, "CompositeExplicitAutograd")
LIBRARY.impl("lrn_scan", _autograd, "Autograd")
