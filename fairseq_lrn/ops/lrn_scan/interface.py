"""The LRN recurrence behind one call, whatever computes it."""

from typing import List, Optional, Sequence, Union

import torch
from torch import Tensor

from fairseq_lrn.ops import (
    dispatch,
    operator,  # noqa: F401  (registers torch.ops.fairseq_lrn)
)
from fairseq_lrn.ops.lrn_scan.reference import lrn_scan_for_export, lrn_scan_reference

ACTIVATIONS = ("tanh", "identity")


def lrn_scan(
    kqv: Union[Tensor, Sequence[Tensor]],
    h0: Tensor,
    padding_mask: Optional[Tensor] = None,
    *,
    bias: Union[None, Tensor, Sequence[Tensor]] = None,
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
            with a last chunk o for oLRN's output gate. A pair of them runs two directions:
            the first forward, the second backward.
        h0: initial state, ``B x H``; for a pair ``2 x B x H``.
        padding_mask: ``T x B``, boolean, true at padding. What *kqv* holds there (NaN
            included) has no influence on values or gradients.
        bias: added to *kqv*, ``3H`` or ``4H``; for a pair of *kqv* a pair. It costs nothing here,
            but a pass over memory where it is added after a matrix product.
        activation: ``"tanh"`` or ``"identity"``, the function g.
        reverse: run from the last time step to the first; ``h[t]`` is still the output at t.
            For a pair, the first backward and the second forward.
        backend: what computes it: ``"reference"``, ``"cpp"``, ``"triton"``, or ``"auto"``, the
            fastest that works. ``None`` follows the environment variable
            ``FAIRSEQ_LRN_BACKEND`` (default ``"auto"``). See
            :func:`fairseq_lrn.ops.backends`.

    Returns:
        all states h, ``T x B x H`` (for a pair ``T x B x 2H``), in the type of *kqv*.
        float16 and bfloat16 inputs keep the running state in float32.

    Raises:
        TypeError: *padding_mask* is not boolean, *kqv* is not floating point, or only one of
            *kqv* and *bias* is a pair.
        ValueError: shapes do not fit, devices differ, or *activation* or *backend* is unknown.
        RuntimeError: *backend* (or the environment variable) names one that cannot be used.

    The fused kernels have no second derivatives, no forward-mode derivatives, and are not for
    ``torch.func``; ``backend="reference"`` has all that.

    Source: Zhang and Sennrich (2019), section 3; for oLRN the authors' toolkit (bzhangGo/zero,
    ``rnns/olrn.py``).
    """
    pair = not isinstance(kqv, Tensor)
    if bias is not None and pair == isinstance(bias, Tensor):
        raise TypeError("bias must be a pair of tensors where kqv is a pair, otherwise a tensor")
    directions = [kqv] if isinstance(kqv, Tensor) else list(kqv)
    biases: List[Tensor] = []
    if bias is not None:
        biases = [bias] if isinstance(bias, Tensor) else list(bias)
    _check_arguments(directions, h0, padding_mask, biases, activation, pair)
    if not pair:
        h0 = h0.unsqueeze(0)
    compute = None
    # torch's older exporter traces, which does not know the operator of the newer one.
    if torch.onnx.is_in_onnx_export() and not torch.jit.is_tracing():
        compute = lrn_scan_for_export
    elif dispatch.choose(h0.device.type, backend) == "reference":
        compute = lrn_scan_reference
    if compute is not None:
        h = [
            compute(one, initial, padding_mask, shift, activation, turned)
            for one, initial, shift, turned in zip(
                directions, h0, biases or (None, None), (reverse, not reverse)
            )
        ]
        return torch.cat(h, dim=-1) if pair else h[0]
    return torch.ops.fairseq_lrn.lrn_scan(
        directions, h0, padding_mask, biases, activation, reverse
    )[0]


def _check_arguments(
    kqv: Sequence[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Sequence[Tensor],
    activation: str,
    pair: bool,
) -> None:
    if pair and len(kqv) != 2:
        raise ValueError(f"kqv must be a tensor or a pair of tensors, not {len(kqv)} of them")
    for one in kqv:
        if one.dim() != 3:
            raise ValueError(
                "kqv must have 3 dimensions, T x B x 3H (or 4H), "
                f"but its shape is {tuple(one.shape)}"
            )
        if not one.is_floating_point():
            raise TypeError(f"kqv must be floating point, not {one.dtype}")
        if one.device != h0.device:
            raise ValueError(f"h0 is on {h0.device}, but kqv is on {one.device}")
    if pair and (kqv[0].shape != kqv[1].shape or kqv[0].dtype != kqv[1].dtype):
        raise ValueError(
            "both tensors of kqv must have the same shape and type, not "
            f"{tuple(kqv[0].shape)} {kqv[0].dtype} and {tuple(kqv[1].shape)} {kqv[1].dtype}"
        )
    time, batch, width = kqv[0].shape
    if h0.shape[:-1] != ((2, batch) if pair else (batch,)):
        expected = "2 x B x H" if pair else "B x H"
        raise ValueError(
            f"h0 must be {expected} with B={batch} as in kqv, but its shape is {tuple(h0.shape)}"
        )
    hidden_size = h0.size(-1)
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
        if padding_mask.device != h0.device:
            raise ValueError(f"padding_mask is on {padding_mask.device}, but kqv on {h0.device}")
    if bias and (len(bias) != len(kqv) or any(one.shape != (width,) for one in bias)):
        expected = f"a pair of {width} values each" if pair else f"{width} values"
        raise ValueError(
            f"bias must be {expected}, as kqv is wide, but it is of the shape "
            f"{', '.join(str(tuple(one.shape)) for one in bias)}"
        )
    for one in bias:
        if one.device != h0.device:
            raise ValueError(f"bias is on {one.device}, but kqv on {h0.device}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, not {activation!r}")
