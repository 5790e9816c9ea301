"""The LRN recurrence: one call for users, and one for modules."""

from typing import Any, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.lrn_scan.contract import check_contract
from fairseq_lrn.ops.lrn_scan.export import lrn_scan_for_export
from fairseq_lrn.ops.lrn_scan.parallel import is_faster
from fairseq_lrn.ops.lrn_scan.reference import lrn_scan_reference, scan_each_direction
from fairseq_lrn.ops.transforms import check_that_reference_may_replace, is_transforming


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
    r"""Run the LRN recurrence over a projected sequence::

        i_t = sigmoid(k_t + h_{t-1})
        f_t = sigmoid(q_t - h_{t-1})
        c_t = g(i_t * v_t + f_t * h_{t-1})
        h_t = c_t                           (LRN)
        h_t = sigmoid(o_t - c_t) * c_t      (oLRN, with an output gate)

    At padding the state is carried unchanged. The last state is therefore that of the last real
    token, and padding may be on either side.

    Args:
        kqv: projections, ``T x B x 3H`` with chunks in the order k, q, v, or ``T x B x 4H``
            with a last chunk o for oLRN's output gate. A pair of tensors runs two directions:
            the first forward, the second backward.
        h0: initial state, ``B x H``; for a pair ``2 x B x H``.
        padding_mask: ``T x B``, boolean, true at padding. The values of *kqv* at padding (NaN
            included) do not influence values or gradients.
        bias: added to *kqv*, ``3H`` or ``4H``; for a pair of *kqv* a pair. Adding it here is free;
            adding it after a matrix product costs a pass over memory.
        activation: ``"tanh"`` or ``"identity"``, the function g.
        reverse: run from the last time step to the first; ``h[t]`` is still the output at t.
            For a pair, the first direction runs backward and the second forward.
        backend: ``"reference"``, ``"cpp"``, ``"triton"``, ``"parallel"`` (parallel over time), or
            ``"auto"`` for the fastest backend that works. ``None`` follows the environment variable
            ``FAIRSEQ_LRN_BACKEND`` (default ``"auto"``). See :func:`fairseq_lrn.ops.backends`.

    Returns:
        all states h, ``T x B x H`` (for a pair ``T x B x 2H``), in the type of *kqv*. With float16
        and bfloat16 inputs, the running state is float32.

    Raises:
        TypeError: *padding_mask* is not boolean, *kqv* or *h0* is not floating point, or only one
            of *kqv* and *bias* is a pair.
        ValueError: shapes do not fit, devices differ, or *activation* or *backend* is unknown.
        RuntimeError: the requested backend is unavailable.

    Under ``torch.func`` and for forward-mode derivatives, ``"auto"`` takes the reference. The fused
    kernels have no second derivatives; ``backend="reference"`` has them.

    Source: Zhang and Sennrich (2019), section 3; for oLRN the authors' toolkit (bzhangGo/zero,
    ``rnns/olrn.py``).
    """
    is_pair = not isinstance(kqv, Tensor)
    if bias is not None and is_pair == isinstance(bias, Tensor):
        raise TypeError("bias must be a pair of tensors where kqv is a pair, otherwise a tensor")
    projections = [kqv] if isinstance(kqv, Tensor) else list(kqv)
    if is_pair and len(projections) != 2:
        raise ValueError(
            f"kqv must be a tensor or a pair of tensors, not {len(projections)} of them"
        )
    biases: List[Tensor] = []
    if bias is not None:
        biases = [bias] if isinstance(bias, Tensor) else list(bias)
    if not is_pair:
        h0 = h0.unsqueeze(0)  # 1 x B x H
    check_contract(projections, h0, padding_mask, biases, activation)
    return _scan(projections, h0, padding_mask, biases, activation, reverse, backend)[0]


def scan_directions(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    """:func:`lrn_scan` in the operator's own form, also in TorchScript: what modules call.

    Args:
        kqv: projections of each of D directions, one or two, ``T x B x 3H`` or ``T x B x 4H``.
        h0: initial states, ``D x B x H``.
        padding_mask: ``T x B``, true at padding.
        bias: one vector for each direction, or an empty list.
        activation: ``"tanh"`` or ``"identity"``.
        reverse: run the first direction from the last step to the first.

    Returns:
        all states, ``T x B x (D*H)``, in the type of *kqv*, and the same states before they were
        rounded to half precision.

    Raises:
        RuntimeError: the arguments do not fit each other.
    """
    if torch.jit.is_scripting():  # the choice of a backend is not for TorchScript
        h, states = torch.ops.fairseq_lrn.lrn_scan(kqv, h0, padding_mask, bias, activation, reverse)
        return h, h if states.numel() == 0 else states
    else:
        return _scan(kqv, h0, padding_mask, bias, activation, reverse, None)


def _scan(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
    backend: Optional[str],
) -> Tuple[Tensor, Tensor]:
    # torch's older exporter traces, and does not know the operator of the newer one.
    if torch.onnx.is_in_onnx_export() and not torch.jit.is_tracing():
        scan = lrn_scan_for_export
    elif is_transforming():
        check_that_reference_may_replace(backend)
        scan = lrn_scan_reference
    else:
        operator = _operator(h0.device.type, backend, kqv[0].size(0), h0[0].numel())
        if operator is not None:
            h, states = operator(kqv, h0, padding_mask, bias, activation, reverse)
            return h, h if states.numel() == 0 else states
        scan = lrn_scan_reference
    return scan_each_direction(scan, kqv, h0, padding_mask, bias, activation, reverse)


def _operator(device_type: str, backend: Optional[str], time: int, lanes: int) -> Any:
    """The operator for T steps of B*H lanes; None: the reference, under autograd."""
    in_parallel = dispatch.runs_in_parallel(device_type, backend)
    if in_parallel == dispatch.BY_SHAPE:
        in_parallel = dispatch.ALWAYS if is_faster(time, lanes) else dispatch.NEVER
    if in_parallel == dispatch.ALWAYS:
        return torch.ops.fairseq_lrn.lrn_scan_parallel
    if dispatch.choose(device_type, backend) == dispatch.REFERENCE:
        return None
    return torch.ops.fairseq_lrn.lrn_scan
