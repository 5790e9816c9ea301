"""Readable reference of the LRN recurrence, in plain torch operations.

Source: Zhang and Sennrich (2019), "A Lightweight Recurrent Network for Sequence
Modeling", section 3.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


def lrn_scan_reference(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """The recurrence step by step, in one direction: :func:`fairseq_lrn.ops.lrn_scan` says more.

    Autograd derives the gradients. Without them, each step is computed in double precision.

    Args:
        kqv: ``T x B x 3H``, or ``T x B x 4H`` with an output gate.
        h0: ``B x H``.
        padding_mask: ``T x B``, true at padding.
        bias: added to *kqv*, ``3H`` or ``4H``.
        activation: ``"tanh"`` or ``"identity"``.
        reverse: from the last step to the first.

    Returns:
        all states, ``T x B x H``, in the type of *kqv*.
    """
    if kqv.size(0) == 0:
        return kqv[:, :, : h0.size(-1)] + h0.to(kqv.dtype)  # empty; both have a gradient
    if padding_mask is not None:
        # Padding may hold anything, NaN included. Clearing it here keeps it out of the
        # gradients too: torch.where alone would multiply a zero gradient by NaN.
        kqv = kqv.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    out_dtype = kqv.dtype
    k, q, v, o = split_gates(kqv.to(state_dtype(kqv)), bias, h0.size(-1))
    h = h0.to(k.dtype)
    # Translations are compared: with one rounding a step instead of one an operation, the
    # log-probabilities of a deep model stay within 1e-5 of the fused kernels'. It takes longer,
    # so training goes without. mps has no double precision.
    exact = k.dtype
    if not torch.is_grad_enabled() and k.device.type != "mps":
        exact = torch.float64
    states = []
    for t in reversed(range(len(k))) if reverse else range(len(k)):
        output_gate = None if o is None else o[t].to(exact)
        gates = k[t].to(exact), q[t].to(exact), v[t].to(exact), output_gate
        new_h = lrn_step(*gates, h.to(exact), activation).to(h.dtype)
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
    """The state after one step, ``B x H`` as all tensors; *o* is None without output gate."""
    input_gate = torch.sigmoid(k + h)
    forget_gate = torch.sigmoid(q - h)
    new_h = input_gate * v + forget_gate * h
    if activation == "tanh":
        new_h = torch.tanh(new_h)
    return new_h if o is None else torch.sigmoid(o - new_h) * new_h


def lrn_scan_for_export(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """:func:`lrn_scan_reference` as one operator, which torch.onnx writes as ONNX's Scan."""
    from torch._higher_order_ops.scan import scan  # torch has no public name for it yet

    exact = state_dtype(kqv)
    gates = kqv.to(exact) if bias is None else kqv.to(exact) + bias.to(exact)
    padding = torch.zeros_like(gates[:, :, 0], dtype=torch.bool)
    if padding_mask is not None:
        padding = padding_mask
    steps = [gates, padding.unsqueeze(-1)]
    if reverse:
        steps = [one.flip(0) for one in steps]

    def step(h, inputs):
        of_step, is_padding = inputs
        new_h = lrn_step(*split_gates(of_step, None, h.size(-1)), h, activation)
        new_h = torch.where(is_padding, h, new_h)
        return new_h, new_h.clone()

    states = scan(step, h0.to(exact), steps)[1]
    return (states.flip(0) if reverse else states).to(kqv.dtype)


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
    """The gradients of *kqv* and *h0*, written out: what the fused kernels compute.

    The gates of a step are computed again from the inputs and the saved state before it.

    Args:
        grad_h: gradient of the states, ``T x B x H``.
        states: the states before they were rounded to half precision, ``T x B x H``.

    The others are those of the forward pass.
    """
    grad_kqv = torch.zeros_like(kqv, memory_format=torch.contiguous_format)
    initial = h0.to(states.dtype)
    grad_state = torch.zeros_like(initial)
    k, q, v, o = split_gates(kqv.to(states.dtype), bias, h0.size(-1))
    first, step = (len(k) - 1, -1) if reverse else (0, 1)
    for t in range(len(k))[::-step]:
        h = initial if t == first else states[t - step]
        grad = grad_state + grad_h[t]
        input_gate = torch.sigmoid(k[t] + h)
        forget_gate = torch.sigmoid(q[t] - h)
        cell = input_gate * v[t] + forget_gate * h
        if activation == "tanh":
            cell = torch.tanh(cell)
        grad_cell = grad
        grads = []
        if o is not None:
            output_gate = torch.sigmoid(o[t] - cell)
            grad_o = grad * cell * output_gate * (1 - output_gate)
            grad_cell = grad * output_gate - grad_o
            grads = [grad_o]
        if activation == "tanh":
            grad_cell = grad_cell * (1 - cell * cell)
        grad_k = grad_cell * v[t] * input_gate * (1 - input_gate)
        grad_q = grad_cell * h * forget_gate * (1 - forget_gate)
        grad_kqv[t] = torch.cat([grad_k, grad_q, grad_cell * input_gate, *grads], dim=-1)
        grad_before = grad_cell * forget_gate + grad_k - grad_q
        if padding_mask is not None:
            padding = padding_mask[t].unsqueeze(-1)
            grad_kqv[t].masked_fill_(padding, 0.0)
            grad_before = torch.where(padding, grad, grad_before)
        grad_state = grad_before
    return grad_kqv, grad_state.to(h0.dtype)


def check_operands(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
) -> None:
    """Keep a direct call of the operator from reading memory that is not there.

    ``lrn_scan`` has the friendly messages.

    Raises:
        RuntimeError: shapes do not fit, or tensors differ in device or layout.
    """
    time, batch, width = kqv[0].shape
    mask = [] if padding_mask is None else [padding_mask]
    fits = (
        h0.shape[:2] == (len(kqv), batch)
        and len(kqv) <= 2
        and width in (3 * h0.size(2), 4 * h0.size(2))
        and all(one.shape == kqv[0].shape and one.dtype == kqv[0].dtype for one in kqv)
        and all(one.shape == (time, batch) and one.dtype == torch.bool for one in mask)
        and len(bias) in (0, len(kqv))
        and all(one.shape == (width,) for one in bias)
        and activation in ("tanh", "identity")
    )
    tensors = [*kqv, h0, *mask, *bias]
    together = all(one.device == h0.device and one.layout == torch.strided for one in tensors)
    if not fits or not together:
        described = ", ".join(f"{tuple(one.shape)} {one.dtype} {one.device}" for one in tensors)
        raise RuntimeError(
            "fairseq_lrn::lrn_scan: kqv, h0, padding_mask and bias do not fit each other, or "
            f"activation={activation!r} is unknown: {described}"
        )


def state_dtype(kqv: Tensor) -> torch.dtype:
    """The type of the running state: half precision would lose a long sum."""
    return torch.float32 if is_half(kqv) else kqv.dtype


def is_half(tensor: Tensor) -> bool:
    """Whether *tensor* is float16 or bfloat16."""
    return tensor.dtype in (torch.float16, torch.bfloat16)


def split_gates(
    kqv: Tensor, bias: Optional[Tensor], hidden_size: int
) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """k, q, v and, of four gates, o, with their bias; the last dimension of each is H."""
    if bias is not None:
        kqv = kqv + bias.to(kqv.dtype)
    k, q, v, *o = kqv.split(hidden_size, dim=-1)
    return k, q, v, o[0] if o else None
