"""The LRN recurrence behind one call, whatever computes it."""

import os
from typing import Optional

import torch
from torch import Tensor

from fairseq_lrn.ops.reference import lrn_scan_reference

ACTIVATIONS = ("tanh", "identity")
BACKENDS = ("reference",)
BACKEND_VARIABLE = "FAIRSEQ_LRN_BACKEND"


def lrn_scan(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor] = None,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    backend: Optional[str] = None,
) -> Tensor:
    r"""Run the LRN recurrence over a projected sequence.

    .. math::
        i_t &= \sigma(k_t + h_{t-1}), \qquad f_t = \sigma(q_t - h_{t-1}) \\
        h_t &= g(i_t \odot v_t + f_t \odot h_{t-1})

    and, with an output gate (oLRN), :math:`c_t` standing for the line above,
    :math:`h_t = \sigma(o_t - c_t) \odot c_t`. At padding the state is carried unchanged, so
    the last state is that of the last real token and both padding sides work.

    Args:
        kqv: projections, ``T x B x 3H`` with chunks in the order k, q, v, or ``T x B x 4H``
            with a last chunk o for oLRN's output gate.
        h0: initial state, ``B x H``.
        padding_mask: ``T x B``, boolean, true at padding. What *kqv* holds there (NaN
            included) has no influence on values or gradients.
        activation: ``"tanh"`` or ``"identity"``, the function g.
        reverse: run from the last time step to the first; ``h[t]`` is still the output at t.
        backend: what computes it; ``None`` follows the environment variable
            ``FAIRSEQ_LRN_BACKEND`` (default ``"auto"``).

    Returns:
        all states h, ``T x B x H``, in the type of *kqv*. float16 and bfloat16 inputs keep
        the running state in float32.

    Raises:
        TypeError: *padding_mask* is not boolean or *kqv* is not floating point.
        ValueError: shapes do not fit, or *activation* or *backend* is unknown.

    Source: Zhang and Sennrich (2019), section 3; for oLRN the authors' toolkit (bzhangGo/zero,
    ``rnns/olrn.py``).
    """
    _check_arguments(kqv, h0, padding_mask, activation)
    _check_backend(backend)
    return lrn_scan_reference(kqv, h0, padding_mask, activation, reverse)


def _check_arguments(
    kqv: Tensor, h0: Tensor, padding_mask: Optional[Tensor], activation: str
) -> None:
    if kqv.dim() != 3:
        raise ValueError(
            f"kqv must have 3 dimensions, T x B x 3H (or 4H), but its shape is {tuple(kqv.shape)}"
        )
    if not kqv.is_floating_point():
        raise TypeError(f"kqv must be floating point, not {kqv.dtype}")
    time, batch, width = kqv.shape
    if h0.dim() != 2 or h0.size(0) != batch:
        raise ValueError(
            f"h0 must be B x H with B={batch} as in kqv, but its shape is {tuple(h0.shape)}"
        )
    hidden_size = h0.size(1)
    if width not in (3 * hidden_size, 4 * hidden_size):
        raise ValueError(
            f"the last dimension of kqv must be 3H or 4H with H={hidden_size} as in h0 "
            f"({3 * hidden_size} or {4 * hidden_size}), but it is {width}"
        )
    if padding_mask is not None:
        if padding_mask.dtype != torch.bool:
            raise TypeError(
                f"padding_mask must be boolean (true at padding), not {padding_mask.dtype}; "
                "convert it with .bool()"
            )
        if padding_mask.shape != (time, batch):
            raise ValueError(
                f"padding_mask must be T x B = {(time, batch)}, "
                f"but its shape is {tuple(padding_mask.shape)}"
            )
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, not {activation!r}")


def _check_backend(backend: Optional[str]) -> None:
    source = "backend"
    if backend is None:
        source = BACKEND_VARIABLE
        backend = os.environ.get(BACKEND_VARIABLE) or "auto"
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"{source}={backend!r} is unknown; choose from {('auto', *BACKENDS)}")
