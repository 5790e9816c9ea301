"""Readable reference of the LRN recurrence, in plain torch operations.

Source: Zhang and Sennrich (2019), "A Lightweight Recurrent Network for Sequence
Modeling", section 3.
"""

from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops.lrn_scan.contract import check_operator_call
from fairseq_lrn.ops.precision import state_dtype


def scan_each_direction(
    scan: Callable[..., Tensor],
    kqv: Sequence[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Sequence[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    """Run *scan*, which computes one direction, for each direction; join the states.

    Args:
        scan: a function with the signature of :func:`lrn_scan_reference`.
        kqv, h0, padding_mask, bias, activation, reverse: see
            :func:`fairseq_lrn.ops.lrn_scan.scan_directions`.

    Returns:
        all states, ``T x B x (D*H)``, in the type of *kqv*; and the same states before they were
        rounded to half precision.

    Raises:
        RuntimeError: the arguments do not fit each other.
    """
    check_operator_call(kqv, h0, padding_mask, bias, activation)
    exact = [projections.to(state_dtype(projections)) for projections in kqv]
    found = [
        scan(projections, initial, padding_mask, shift, activation, is_reversed)
        for projections, initial, shift, is_reversed in zip(exact, *by_direction(h0, bias, reverse))
    ]
    states = found[0] if len(found) == 1 else torch.cat(found, dim=-1)
    return states.to(kqv[0].dtype), states


def by_direction(h0: Tensor, bias: Sequence[Tensor], reverse: bool) -> tuple:
    """Sequences of each direction's initial state, bias (or None), and whether it is reversed."""
    return h0, bias or [None] * len(h0), (reverse, not reverse)


def lrn_scan_reference(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """Run the recurrence step by step in one direction (see :func:`fairseq_lrn.ops.lrn_scan`).

    Autograd derives the gradients. Without gradients, each step is computed in double precision.

    Args:
        kqv: ``T x B x 3H``, or ``T x B x 4H`` with an output gate.
        h0: ``B x H``.
        padding_mask: ``T x B``, true at padding.
        bias: added to *kqv*, ``3H`` or ``4H``.
        activation: ``"tanh"`` or ``"identity"``.
        reverse: run from the last step to the first.

    Returns:
        all states, ``T x B x H``, in the type of *kqv*.
    """
    if kqv.size(0) == 0:
        return kqv[:, :, : h0.size(-1)] + h0.to(kqv.dtype)  # empty; both have a gradient
    if padding_mask is not None:
        # Padding may hold anything, NaN included. Zeros keep it out of the gradients too:
        # torch.where alone would multiply a zero gradient by NaN.
        kqv = kqv.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    out_dtype = kqv.dtype
    k, q, v, o = split_gates(kqv.to(state_dtype(kqv)), bias, h0.size(-1))
    h = h0.to(k.dtype)
    # With one rounding per step, not per operation, the log-probabilities of a deep model agree
    # with those of the fused kernels to 1e-5. Double precision takes longer, so training does
    # without it. The device type mps does not have it.
    step_dtype = k.dtype
    if not torch.is_grad_enabled() and k.device.type != "mps":
        step_dtype = torch.float64
    states = []
    for t in reversed(range(len(k))) if reverse else range(len(k)):
        output_gate = None if o is None else o[t].to(step_dtype)
        gates = k[t].to(step_dtype), q[t].to(step_dtype), v[t].to(step_dtype), output_gate
        new_h = lrn_step(*gates, h.to(step_dtype), activation).to(h.dtype)
        if padding_mask is not None:
            new_h = torch.where(padding_mask[t].unsqueeze(-1), h, new_h)
        h = new_h
        states.append(h)
    if reverse:
        states.reverse()
    return torch.stack(states).to(out_dtype)


def lrn_step(
    k: Tensor, q: Tensor, v: Tensor, o: Optional[Tensor], h: Tensor, activation: str
) -> Tensor:
    """The state after one step. All tensors are ``B x H``; *o* is None without an output gate."""
    input_gate = torch.sigmoid(k + h)
    forget_gate = torch.sigmoid(q - h)
    new_h = input_gate * v + forget_gate * h
    if activation == "tanh":
        new_h = torch.tanh(new_h)
    return new_h if o is None else torch.sigmoid(o - new_h) * new_h


def lrn_scan_backward_reference(
    grad_h: Tensor,
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    """The gradients of *kqv* and *h0*, written out as the fused kernels compute them.

    The gates of a step are recomputed from its inputs and the saved state before it.

    Args:
        grad_h: gradient of the states, ``T x B x H``.
        states: the states before rounding to half precision, ``T x B x H``.
        kqv, h0, padding_mask, bias, activation, reverse: the arguments of the forward pass.

    Returns:
        gradients of *kqv*, ``T x B x 3H`` (or ``4H``), and of *h0*, ``B x H``.
    """
    # Nothing is written in place, so that batched gradients (vmap) can pass through.
    grad_kqv = list(torch.zeros_like(kqv, dtype=states.dtype).unbind(0))
    initial = h0.to(states.dtype)
    grad_state = torch.zeros_like(initial)
    k, q, v, o = split_gates(kqv.to(states.dtype), bias, h0.size(-1))
    first, step = (len(k) - 1, -1) if reverse else (0, 1)
    for t in range(len(k))[::-step]:
        h = initial if t == first else states[t - step]
        grad = grad_state + grad_h[t]
        gates = k[t], q[t], v[t], None if o is None else o[t]
        grads, grad_before = lrn_step_backward(grad, *gates, h, activation)
        grad_kqv[t] = torch.cat(grads, dim=-1)
        if padding_mask is not None:
            padding = padding_mask[t].unsqueeze(-1)
            grad_kqv[t] = grad_kqv[t].masked_fill(padding, 0.0)
            grad_before = torch.where(padding, grad, grad_before)
        grad_state = grad_before
    joined = torch.stack(grad_kqv) if grad_kqv else torch.zeros_like(kqv)
    return joined.to(kqv.dtype), grad_state.to(h0.dtype)


def lrn_step_backward(
    grad: Tensor,
    k: Tensor,
    q: Tensor,
    v: Tensor,
    o: Optional[Tensor],
    h: Tensor,
    activation: str,
) -> Tuple[List[Tensor], Tensor]:
    """The gradients of k, q, v (and o), and of the state h before the step.

    All tensors have one shape; *grad* is the gradient of the state after the step. With a *grad* of
    ones, the second result is the derivative of the new state by the one before.
    """
    input_gate = torch.sigmoid(k + h)
    forget_gate = torch.sigmoid(q - h)
    cell = input_gate * v + forget_gate * h
    if activation == "tanh":
        cell = torch.tanh(cell)
    grad_cell = grad
    grads = []
    if o is not None:
        output_gate = torch.sigmoid(o - cell)
        grad_o = grad * (cell * (output_gate * (1 - output_gate)))
        grad_cell = grad * output_gate - grad_o
        grads = [grad_o]
    if activation == "tanh":
        grad_cell = grad_cell * (1 - cell * cell)
    # The slopes come first: with a closed gate, the product with a large state would overflow.
    grad_k = grad_cell * (v * (input_gate * (1 - input_gate)))
    grad_q = grad_cell * (h * (forget_gate * (1 - forget_gate)))
    grads = [grad_k, grad_q, grad_cell * input_gate, *grads]
    return grads, grad_cell * forget_gate + grad_k - grad_q


def split_gates(
    kqv: Tensor, bias: Optional[Tensor], hidden_size: int
) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """Add the bias and split ``... x 3H`` (or ``4H``) into k, q, v and o (or None), ``... x H``."""
    if bias is not None:
        kqv = kqv + bias.to(kqv.dtype)
    k, q, v, *o = kqv.split(hidden_size, dim=-1)
    return k, q, v, o[0] if o else None
