"""Readable reference of the LRN recurrence, in plain torch operations.

Source: Zhang and Sennrich (2019), "A Lightweight Recurrent Network for Sequence
Modeling", section 3.
"""

from typing import List, Optional

import torch
from torch import Tensor


def lrn_scan_reference(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """The recurrence step by step; shapes as in :func:`fairseq_lrn.ops.lrn_scan`.

    Scriptable. The arguments are taken to be valid: ``lrn_scan`` checks them.
    """
    hidden_size = h0.size(-1)
    output_gate = kqv.size(-1) == 4 * hidden_size
    out_dtype = kqv.dtype
    # The state is a long running sum: half precision would lose it.
    half = out_dtype == torch.float16 or out_dtype == torch.bfloat16
    state_dtype = torch.float32 if half else out_dtype

    if kqv.size(0) == 0:
        return kqv[:, :, :hidden_size]
    if padding_mask is not None:
        # Padding may hold anything, NaN included. Clearing it here keeps it out of the
        # gradients too: torch.where alone would multiply a zero gradient by NaN.
        kqv = kqv.masked_fill(padding_mask.unsqueeze(-1), 0.0)

    chunks = kqv.to(state_dtype).split(hidden_size, dim=-1)
    k = chunks[0].unbind(0)
    q = chunks[1].unbind(0)
    v = chunks[2].unbind(0)
    o = chunks[3].unbind(0) if output_gate else v

    h = h0.to(state_dtype)
    states: List[Tensor] = []
    num_steps = len(k)
    for step in range(num_steps):
        t = num_steps - 1 - step if reverse else step
        input_gate = torch.sigmoid(k[t] + h)
        forget_gate = torch.sigmoid(q[t] - h)
        new_h = input_gate * v[t] + forget_gate * h
        if activation == "tanh":
            new_h = torch.tanh(new_h)
        if output_gate:
            new_h = torch.sigmoid(o[t] - new_h) * new_h
        if padding_mask is not None:
            new_h = torch.where(padding_mask[t].unsqueeze(-1), h, new_h)
        h = new_h
        states.append(h)
    if reverse:
        states.reverse()
    return torch.stack(states).to(out_dtype)
