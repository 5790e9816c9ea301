"""GPU kernels of the LRN recurrence, in Triton. Imported only when the backend is loaded.

Each program handles a block of neighbouring features of one sentence. It loops over time and keeps
the state in registers. Its loads do not depend on the state, so the loads of later steps overlap
with the arithmetic of a step.
"""

from typing import Dict, List, Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.lrn_scan.contract import check_operator_call
from fairseq_lrn.ops.precision import is_half, state_dtype

# Number of steps whose loads are in flight at once.
STAGES = tl.constexpr(8)
NUM_WARPS = 2


@triton.jit
def _tanh(x):
    # Handle the sign separately, so that the exponential cannot overflow.
    e = tl.exp(-2.0 * tl.abs(x))
    y = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0.0, -y, y)


@triton.jit
def _forward_kernel(
    kqv,
    h0,
    mask,
    bias,
    h,
    states,
    time,
    hidden,
    kqv_time_stride,
    kqv_batch_stride,
    mask_time_stride,
    mask_batch_stride,
    h_time_stride,
    h_batch_stride,
    STATE: tl.constexpr,
    REVERSE: tl.constexpr,
    TANH: tl.constexpr,
    OUTPUT_GATE: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    sentence = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    lanes = feature < hidden
    kqv += sentence * kqv_batch_stride + feature
    h += sentence * h_batch_stride + feature
    states += sentence * h_batch_stride + feature
    mask += sentence * mask_batch_stride + tl.zeros([BLOCK], tl.int64)
    state = tl.load(h0 + sentence * hidden + feature, lanes, 0.0).to(STATE)
    if HAS_BIAS:
        bias_k = tl.load(bias + feature, lanes, 0.0).to(STATE)
        bias_q = tl.load(bias + hidden + feature, lanes, 0.0).to(STATE)
        bias_v = tl.load(bias + 2 * hidden + feature, lanes, 0.0).to(STATE)
        if OUTPUT_GATE:
            bias_o = tl.load(bias + 3 * hidden + feature, lanes, 0.0).to(STATE)
    for step in tl.range(0, time, num_stages=STAGES):
        t = tl.cast(time - 1 - step if REVERSE else step, tl.int64)
        source = kqv + t * kqv_time_stride
        k = tl.load(source, lanes, 0.0).to(STATE)
        q = tl.load(source + hidden, lanes, 0.0).to(STATE)
        v = tl.load(source + 2 * hidden, lanes, 0.0).to(STATE)
        if HAS_BIAS:
            k += bias_k
            q += bias_q
            v += bias_v
        new = tl.sigmoid(k + state) * v + tl.sigmoid(q - state) * state
        if TANH:
            new = _tanh(new)
        if OUTPUT_GATE:
            o = tl.load(source + 3 * hidden, lanes, 0.0).to(STATE)
            if HAS_BIAS:
                o += bias_o
            new = tl.sigmoid(o - new) * new
        if HAS_MASK:
            padding = tl.load(mask + t * mask_time_stride) != 0
            new = tl.where(padding, state, new)
        state = new
        tl.store(h + t * h_time_stride, state.to(h.dtype.element_ty), lanes)
        if HALF:
            tl.store(states + t * h_time_stride, state, lanes)


@triton.jit
def _backward_kernel(
    grad_h,
    kqv,
    h0,
    mask,
    bias,
    states,
    grad_kqv,
    grad_h0,
    time,
    hidden,
    grad_time_stride,
    grad_batch_stride,
    kqv_time_stride,
    kqv_batch_stride,
    mask_time_stride,
    mask_batch_stride,
    h_time_stride,
    h_batch_stride,
    grad_kqv_time_stride,
    grad_kqv_batch_stride,
    STATE: tl.constexpr,
    REVERSE: tl.constexpr,
    TANH: tl.constexpr,
    OUTPUT_GATE: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    sentence = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    lanes = feature < hidden
    kqv += sentence * kqv_batch_stride + feature
    grad_kqv += sentence * grad_kqv_batch_stride + feature
    grad_h += sentence * grad_batch_stride + feature
    states += sentence * h_batch_stride + feature
    mask += sentence * mask_batch_stride + tl.zeros([BLOCK], tl.int64)
    initial = tl.load(h0 + sentence * hidden + feature, lanes, 0.0).to(STATE)
    grad_state = tl.zeros([BLOCK], STATE)
    if HAS_BIAS:
        bias_k = tl.load(bias + feature, lanes, 0.0).to(STATE)
        bias_q = tl.load(bias + hidden + feature, lanes, 0.0).to(STATE)
        bias_v = tl.load(bias + 2 * hidden + feature, lanes, 0.0).to(STATE)
        if OUTPUT_GATE:
            bias_o = tl.load(bias + 3 * hidden + feature, lanes, 0.0).to(STATE)
    for back in tl.range(0, time, num_stages=STAGES):
        step = time - 1 - back
        t = tl.cast(back if REVERSE else step, tl.int64)
        before = t + 1 if REVERSE else t - 1
        source = kqv + t * kqv_time_stride
        k = tl.load(source, lanes, 0.0).to(STATE)
        q = tl.load(source + hidden, lanes, 0.0).to(STATE)
        v = tl.load(source + 2 * hidden, lanes, 0.0).to(STATE)
        if HAS_BIAS:
            k += bias_k
            q += bias_q
            v += bias_v
        grad = grad_state + tl.load(grad_h + t * grad_time_stride, lanes, 0.0).to(STATE)
        later = tl.zeros([BLOCK], tl.int32) + step > 0
        saved = tl.load(states + before * h_time_stride, lanes & later, 0.0)
        state = tl.where(later, saved.to(STATE), initial)
        input_gate = tl.sigmoid(k + state)
        forget_gate = tl.sigmoid(q - state)
        cell = input_gate * v + forget_gate * state
        if TANH:
            cell = _tanh(cell)
        out = grad_kqv + t * grad_kqv_time_stride
        if HAS_MASK:
            padding = tl.load(mask + t * mask_time_stride) != 0
        else:
            padding = False
        grad_cell = grad
        if OUTPUT_GATE:
            o = tl.load(source + 3 * hidden, lanes, 0.0).to(STATE)
            if HAS_BIAS:
                o += bias_o
            output_gate = tl.sigmoid(o - cell)
            grad_o = grad * (cell * (output_gate * (1.0 - output_gate)))
            grad_cell = grad * output_gate - grad_o
            tl.store(
                out + 3 * hidden,
                tl.where(padding, 0.0, grad_o).to(out.dtype.element_ty),
                lanes,
            )
        if TANH:
            grad_cell = grad_cell * (1.0 - cell * cell)
        # The slopes come first: with a closed gate, the product with a large state would overflow.
        grad_k = grad_cell * (v * (input_gate * (1.0 - input_gate)))
        grad_q = grad_cell * (state * (forget_gate * (1.0 - forget_gate)))
        grad_v = grad_cell * input_gate
        tl.store(out, tl.where(padding, 0.0, grad_k).to(out.dtype.element_ty), lanes)
        tl.store(out + hidden, tl.where(padding, 0.0, grad_q).to(out.dtype.element_ty), lanes)
        tl.store(out + 2 * hidden, tl.where(padding, 0.0, grad_v).to(out.dtype.element_ty), lanes)
        grad_state = tl.where(padding, grad, grad_cell * forget_gate + grad_k - grad_q)
    tl.store(grad_h0 + sentence * hidden + feature, grad_state.to(grad_h0.dtype.element_ty), lanes)


def _forward(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    check_operator_call(kqv, h0, padding_mask, bias, activation)
    time, batch, _ = kqv[0].shape
    hidden = h0.size(-1)
    h = kqv[0].new_empty(time, batch, len(kqv) * hidden)
    states = h.new_empty(h.shape if is_half(h) else (0,), dtype=state_dtype(h))
    if h.numel() == 0:
        return h, states
    mask, *mask_strides = _mask(padding_mask, h)
    for direction, projections in enumerate(map(_with_contiguous_rows, kqv)):
        part = slice(direction * hidden, (direction + 1) * hidden)
        with _on_device_of(h):
            _forward_kernel[_grid(projections, h0)](
                projections,
                h0[direction].contiguous(),
                mask,
                bias[direction].contiguous() if bias else h,
                h[:, :, part],
                states[:, :, part] if is_half(h) else h,
                time,
                hidden,
                *projections.stride()[:2],
                *mask_strides,
                *h.stride()[:2],
                REVERSE=reverse != (direction == 1),
                HALF=is_half(h),
                **_options(projections, h0, padding_mask, bias, activation),
            )
    return h, states


def _backward(
    grad_h: Tensor,
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
) -> Tuple[List[Tensor], Tensor]:
    time, batch, _ = kqv[0].shape
    hidden = h0.size(-1)
    grad_h = _with_contiguous_rows(grad_h)
    grad_kqv = [projections.new_empty(projections.shape) for projections in kqv]
    grad_h0 = torch.zeros_like(h0, memory_format=torch.contiguous_format)
    if grad_h.numel() == 0:
        return grad_kqv, grad_h0
    mask, *mask_strides = _mask(padding_mask, grad_h)
    for direction, projections in enumerate(map(_with_contiguous_rows, kqv)):
        part = slice(direction * hidden, (direction + 1) * hidden)
        with _on_device_of(grad_h):
            _backward_kernel[_grid(projections, h0)](
                grad_h[:, :, part],
                projections,
                h0[direction].contiguous(),
                mask,
                bias[direction].contiguous() if bias else h0,
                states[:, :, part],
                grad_kqv[direction],
                grad_h0[direction],
                time,
                hidden,
                *grad_h.stride()[:2],
                *projections.stride()[:2],
                *mask_strides,
                *states.stride()[:2],
                *grad_kqv[direction].stride()[:2],
                REVERSE=reverse != (direction == 1),
                **_options(projections, h0, padding_mask, bias, activation),
            )
    return grad_kqv, grad_h0


_TRITON_TYPE = {torch.float32: tl.float32, torch.float64: tl.float64}


def _options(
    kqv: Tensor, h0: Tensor, padding_mask: Optional[Tensor], bias: List[Tensor], activation: str
) -> Dict[str, object]:
    """Compile-time arguments of both kernels."""
    return {
        "STATE": _TRITON_TYPE[state_dtype(kqv)],
        "TANH": activation == "tanh",
        "OUTPUT_GATE": kqv.size(-1) == 4 * h0.size(-1),
        "HAS_MASK": padding_mask is not None,
        "HAS_BIAS": len(bias) > 0,
        "BLOCK": _block(kqv, h0),
        "num_warps": NUM_WARPS,
    }


def _block(kqv: Tensor, h0: Tensor) -> int:
    # A warp reads whole cache lines of 128 bytes. Many small programs hide memory latency better
    # than few large ones.
    return min(128 if is_half(kqv) else 64, triton.next_power_of_2(h0.size(-1)))


def _grid(kqv: Tensor, h0: Tensor) -> Tuple[int, int]:
    return kqv.size(1), triton.cdiv(h0.size(-1), _block(kqv, h0))


def _mask(padding_mask: Optional[Tensor], other: Tensor) -> Tuple[Tensor, int, int]:
    """The mask and its strides; without a mask, a pointer that is never dereferenced."""
    if padding_mask is None:
        return other, 0, 0
    # A GPU can prefetch words, but not single bytes.
    mask = padding_mask.to(torch.int32)
    return mask, mask.stride(0), mask.stride(1)


def _with_contiguous_rows(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _on_device_of(tensor: Tensor):
    """Make the tensor's device current: Triton launches kernels on the current device."""
    return torch.cuda.device_of(tensor)


def compile_kernels(device_type: str) -> None:
    """Run both kernels once, so that they are compiled; raises any error of the compiler."""
    kqv, h0 = torch.zeros(1, 1, 3, device=device_type), torch.zeros(1, 1, 1, device=device_type)
    h, _ = _forward([kqv], h0, None, [], "tanh", False)
    _backward(h, [kqv], h0, None, [], h, "tanh", False)


def register_kernels(device_type: str) -> None:
    """Register these as the operator's kernels for ``"cuda"`` or, interpreted, for ``"cpu"``."""
    LIBRARY.impl("lrn_scan", _forward, device_type.upper())
    LIBRARY.impl("lrn_scan_backward", _backward, device_type.upper())
