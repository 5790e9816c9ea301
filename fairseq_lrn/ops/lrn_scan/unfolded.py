"""The unfolded recurrence: each state as a weighted sum of the values of all earlier steps.

Source: Zhang and Sennrich (2019), section 3.2, for the identity activation.
"""

from typing import List, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq_lrn.ops.lrn_scan.contract import check_contract
from fairseq_lrn.ops.lrn_scan.reference import split_gates
from fairseq_lrn.ops.precision import state_dtype


class Unfolded(NamedTuple):
    """The unfolded form of all states.

    With c_t = 1 for the identity activation, and otherwise the factor by which activation and
    output gate scale the new state::

        h_t = sum_{k <= t} (c_k i_k  prod_{k < j <= t} c_j f_j) v_k  +  (prod_{j <= t} c_j f_j) h_0

    Attributes:
        states: h_t, ``T x B x H``.
        values: v_k, ``T x B x H``.
        input_gates: c_k i_k, the share of v_k that enters the state, ``T x B x H``: the short-term
            part.
        forget_chains: the product of c_j f_j over k < j <= t, ``T x T x B x H``, indexed by t and
            k, 0 where k > t: the long-term part.
        initial: the factor of h_0, ``T x B x H``.
    """

    states: Tensor
    values: Tensor
    input_gates: Tensor
    forget_chains: Tensor
    initial: Tensor

    @property
    def weights(self) -> Tensor:
        """The weight of v_k in h_t, ``T x T x B x H``, indexed by t and k."""
        return self.forget_chains * self.input_gates

    def sum(self, h0: Tensor) -> Tensor:
        """The states ``T x B x H``, recomputed from the unfolded form; *h0* is ``B x H``."""
        return (self.weights * self.values).sum(1) + self.initial * h0


def unfold(
    kqv: Tensor,
    h0: Tensor,
    bias: Optional[Tensor] = None,
    activation: str = "tanh",
    reverse: bool = False,
) -> Unfolded:
    """Unfold the recurrence of one direction, without padding.

    It takes T times the memory of the states.

    Args:
        kqv, h0, bias, activation, reverse: see :func:`fairseq_lrn.ops.lrn_scan`. Time in the
            result is as in the input, so with *reverse* k runs over the later steps.

    Raises:
        TypeError, ValueError: see :func:`fairseq_lrn.ops.lrn_scan`; or there are no steps.
    """
    check_contract([kqv], h0.unsqueeze(0), None, [] if bias is None else [bias], activation)
    if len(kqv) == 0:
        raise ValueError("kqv must have at least one step")
    if reverse:
        flipped = unfold(kqv.flip(0), h0, bias, activation)
        return Unfolded(
            flipped.states.flip(0),
            flipped.values.flip(0),
            flipped.input_gates.flip(0),
            flipped.forget_chains.flip(0, 1),
            flipped.initial.flip(0),
        )
    k, q, v, o = split_gates(kqv.to(state_dtype(kqv)), bias, h0.size(-1))
    h = h0.to(k.dtype)
    chains = h.new_zeros(len(k), len(k), *h.shape)
    states: List[Tensor] = []
    inputs: List[Tensor] = []
    initial: List[Tensor] = []
    chain = torch.ones_like(h)
    for t in range(len(k)):
        input_gate, forget_gate = torch.sigmoid(k[t] + h), torch.sigmoid(q[t] - h)
        new_h = input_gate * v[t] + forget_gate * h
        scale = torch.ones_like(new_h)
        if activation == "tanh":
            scale = torch.where(new_h == 0, scale, torch.tanh(new_h) / new_h)
            new_h = torch.tanh(new_h)
        if o is not None:
            output_gate = torch.sigmoid(o[t] - new_h)
            scale, new_h = scale * output_gate, output_gate * new_h
        kept = scale * forget_gate
        if t > 0:
            chains[t] = chains[t - 1] * kept
        chains[t, t] = 1.0
        chain = chain * kept
        h = new_h
        states.append(h)
        inputs.append(scale * input_gate)
        initial.append(chain)
    return Unfolded(torch.stack(states), v, torch.stack(inputs), chains, torch.stack(initial))
