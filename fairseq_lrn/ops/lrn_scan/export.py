"""The recurrence for torch.onnx: one ``scan`` operator, which becomes ONNX's Scan."""

from typing import Optional

import torch
from torch import Tensor

from fairseq_lrn.ops.lrn_scan.reference import lrn_step, split_gates
from fairseq_lrn.ops.precision import state_dtype


def lrn_scan_for_export(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """The result of :func:`.reference.lrn_scan_reference`, computed by one operator.

    Arguments and result are those of :func:`.reference.lrn_scan_reference`.
    """
    from torch._higher_order_ops.scan import scan  # torch has no public name for it yet

    dtype = state_dtype(kqv)
    gates = kqv.to(dtype) if bias is None else kqv.to(dtype) + bias.to(dtype)
    if padding_mask is None:
        padding_mask = torch.zeros_like(gates[:, :, 0], dtype=torch.bool)
    inputs = [gates, padding_mask.unsqueeze(-1)]  # T x B x 3H (or 4H), T x B x 1
    if reverse:
        inputs = [tensor.flip(0) for tensor in inputs]

    def step(h, step_inputs):
        step_gates, is_padding = step_inputs
        new_h = lrn_step(*split_gates(step_gates, None, h.size(-1)), h, activation)
        new_h = torch.where(is_padding, h, new_h)
        return new_h, new_h.clone()

    states = scan(step, h0.to(dtype), inputs)[1]
    return (states.flip(0) if reverse else states).to(kqv.dtype)
