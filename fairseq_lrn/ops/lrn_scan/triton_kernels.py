"""GPU kernels of the LRN recurrence, in Triton. Imported only when the backend is loaded.

Each program handles a block of neighbouring features of one sentence. It loops over time and keeps
the state in registers. Its loads do not depend on the state, so the loads of later steps overlap
with the arithmetic of a step.

The same kernels compute the recurrence in parallel over time (:mod:`.parallel`). There, a program
handles one chunk of the steps.
"""

from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.lrn_scan import parallel
from fairseq_lrn.ops.lrn_scan.contract import check_backward_call, check_operator_call
from fairseq_lrn.ops.precision import is_half, state_dtype

# Number of steps whose loads are in flight at once.
STAGES = tl.constexpr(8)
# What a program of the kernels computes.
WHOLE, LEFT, GUESS, CHUNK, SUM = (tl.constexpr(part) for part in range(5))
WARM_UP = tl.constexpr(parallel.WARM_UP)
NUM_WARPS = 2
# Lanes of a program that goes through the chunks.
LANES = 128


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
    rounds,
    ends,
    slopes,
    counts,
    time,
    hidden,
    length,
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
    PART: tl.constexpr,
):
    # PART: WHOLE all steps, LEFT the same for lanes that Newton's method left, GUESS the first
    # guess of the state after each chunk, from its last steps, or CHUNK one round.
    sentence = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    lanes = feature < hidden
    lane = sentence * hidden + feature
    first, last = 0, time
    if PART == CHUNK or PART == GUESS:
        chunk = tl.program_id(2).to(tl.int64)
        lane += chunk * tl.num_programs(0) * hidden  # C x B x H
        first = tl.program_id(2) * length
        last = tl.minimum(first + length, time)
    if PART == CHUNK or PART == LEFT:
        done = tl.load(rounds + sentence * hidden + feature, lanes, 1)
        if PART == LEFT:
            taken = tl.where(lanes, done, 0)
            tl.atomic_add(counts, tl.sum(lanes.to(tl.int64), 0))
            tl.atomic_add(counts + 1, tl.sum(taken.to(tl.int64), 0))
            tl.atomic_add(counts + 2, tl.sum((lanes & (done == 0)).to(tl.int64), 0))
        lanes = lanes & (done == 0)
        last = tl.where(tl.max(lanes.to(tl.int32), 0) > 0, last, first)
    kqv += sentence * kqv_batch_stride + feature
    h += sentence * h_batch_stride + feature
    states += sentence * h_batch_stride + feature
    mask += sentence * mask_batch_stride + tl.zeros([BLOCK], tl.int64)
    known = lanes
    if PART == GUESS:
        # Only the state before all steps is known, and other programs write the others.
        first = tl.maximum(first, last - WARM_UP)
        known = lanes & (tl.zeros([BLOCK], tl.int32) + first == 0)
    state = tl.load(h0 + lane, known, 0.0).to(STATE)
    slope = tl.full([BLOCK], 1.0, STATE)
    if HAS_BIAS:
        bias_k = tl.load(bias + feature, lanes, 0.0).to(STATE)
        bias_q = tl.load(bias + hidden + feature, lanes, 0.0).to(STATE)
        bias_v = tl.load(bias + 2 * hidden + feature, lanes, 0.0).to(STATE)
        if OUTPUT_GATE:
            bias_o = tl.load(bias + 3 * hidden + feature, lanes, 0.0).to(STATE)
    for step in tl.range(first, last, num_stages=STAGES):
        t = tl.cast(time - 1 - step if REVERSE else step, tl.int64)
        source = kqv + t * kqv_time_stride
        k = tl.load(source, lanes, 0.0).to(STATE)
        q = tl.load(source + hidden, lanes, 0.0).to(STATE)
        v = tl.load(source + 2 * hidden, lanes, 0.0).to(STATE)
        if HAS_BIAS:
            k += bias_k
            q += bias_q
            v += bias_v
        input_gate, forget_gate = tl.sigmoid(k + state), tl.sigmoid(q - state)
        new = input_gate * v + forget_gate * state
        if PART == CHUNK:
            step_slope = v * (input_gate * (1.0 - input_gate)) + forget_gate
            step_slope -= state * (forget_gate * (1.0 - forget_gate))
        if TANH:
            new = _tanh(new)
            if PART == CHUNK:
                step_slope *= 1.0 - new * new
        if OUTPUT_GATE:
            o = tl.load(source + 3 * hidden, lanes, 0.0).to(STATE)
            if HAS_BIAS:
                o += bias_o
            output_gate = tl.sigmoid(o - new)
            if PART == CHUNK:
                step_slope *= output_gate - new * (output_gate * (1.0 - output_gate))
            new = output_gate * new
        if HAS_MASK:
            padding = tl.load(mask + t * mask_time_stride) != 0
            new = tl.where(padding, state, new)
            if PART == CHUNK:
                step_slope = tl.where(padding, 1.0, step_slope)
        state = new
        if PART == CHUNK:
            slope *= step_slope
        if PART != GUESS:
            tl.store(h + t * h_time_stride, state.to(h.dtype.element_ty), lanes)
            if HALF:
                tl.store(states + t * h_time_stride, state, lanes)
    if PART == GUESS or PART == CHUNK:
        tl.store(ends + lane, state, lanes)
    if PART == CHUNK:
        tl.store(slopes + lane, slope, lanes)


@triton.jit
def _newton_kernel(
    start,
    ends,
    slopes,
    rounds,
    lanes_in_all,
    chunks,
    round_number,
    tolerance,
    BLOCK: tl.constexpr,
):
    """Correct the states between chunks, ``C x lanes``.

    In *rounds*, a lane has 0 until it is exact, and then the number of the round.
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    left = lane < lanes_in_all
    left = left & (tl.load(rounds + lane, left, 1) == 0)
    error = tl.zeros([BLOCK], start.dtype.element_ty)
    # A comparison with NaN is false: such a lane is not exact.
    is_exact = left
    chunks = tl.where(tl.max(left.to(tl.int32), 0) > 0, chunks, 0)
    for chunk in tl.range(1, chunks):
        place = tl.cast(chunk, tl.int64) * lanes_in_all + lane
        end = tl.load(ends + place - lanes_in_all, left, 0.0)
        slope = tl.load(slopes + place - lanes_in_all, left, 0.0)
        state = tl.load(start + place, left, 0.0)
        error = slope * error + (end - state)
        # A quotient, as the product of an infinite state would be above any error.
        size = tl.abs(error) / tl.maximum(tl.abs(state), 1.0)
        is_exact = is_exact & (size <= tolerance)
        tl.store(start + place, state + error, left)
    tl.store(rounds + lane, tl.where(is_exact, round_number, 0), left)


@triton.jit
def _later_kernel(sums, slopes, later, done, lanes_in_all, chunks, BLOCK: tl.constexpr):
    """The gradient of the state after each chunk, from the chunks after it; all ``C x lanes``.

    In *done*, a lane has 1, or 0 where an infinite slope or gradient makes the result useless.
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    lanes = lane < lanes_in_all
    grad = tl.zeros([BLOCK], later.dtype.element_ty)
    is_finite = lanes
    for back in tl.range(0, chunks):
        place = tl.cast(chunks - 1 - back, tl.int64) * lanes_in_all + lane
        tl.store(later + place, grad, lanes)
        sum = tl.load(sums + place, lanes, 0.0)
        slope = tl.load(slopes + place, lanes, 0.0)
        grad = slope * grad + sum
        # The difference of infinite or undefined numbers is undefined, and unequal to zero.
        is_finite = is_finite & (slope - slope == 0.0) & (grad - grad == 0.0)
    tl.store(done + lane, is_finite.to(tl.int32), lanes)


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
    done,
    later_grads,
    sums,
    slopes,
    time,
    hidden,
    length,
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
    PART: tl.constexpr,
):
    # PART: WHOLE all steps, SUM the slope of a chunk and its own share of the gradient before it,
    # CHUNK one chunk, with the gradient that comes from later chunks, or LEFT all steps of the
    # lanes for which chunks do not work.
    sentence = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    lanes = feature < hidden
    lane = sentence * hidden + feature
    first, last = 0, time
    if PART == CHUNK or PART == SUM:
        chunk = tl.program_id(2).to(tl.int64)
        lane += chunk * tl.num_programs(0) * hidden  # C x B x H
        first = tl.program_id(2) * length
        last = tl.minimum(first + length, time)
    if PART == CHUNK or PART == LEFT:
        is_done = tl.load(done + sentence * hidden + feature, lanes, PART == LEFT) != 0
        lanes = lanes & (is_done == (PART == CHUNK))
        last = tl.where(tl.max(lanes.to(tl.int32), 0) > 0, last, first)
    kqv += sentence * kqv_batch_stride + feature
    grad_kqv += sentence * grad_kqv_batch_stride + feature
    grad_h += sentence * grad_batch_stride + feature
    states += sentence * h_batch_stride + feature
    mask += sentence * mask_batch_stride + tl.zeros([BLOCK], tl.int64)
    initial = tl.load(h0 + sentence * hidden + feature, lanes, 0.0).to(STATE)
    grad_state = tl.zeros([BLOCK], STATE)
    if PART == CHUNK:
        grad_state = tl.load(later_grads + lane, lanes, 0.0)
    slope = tl.full([BLOCK], 1.0, STATE)
    if HAS_BIAS:
        bias_k = tl.load(bias + feature, lanes, 0.0).to(STATE)
        bias_q = tl.load(bias + hidden + feature, lanes, 0.0).to(STATE)
        bias_v = tl.load(bias + 2 * hidden + feature, lanes, 0.0).to(STATE)
        if OUTPUT_GATE:
            bias_o = tl.load(bias + 3 * hidden + feature, lanes, 0.0).to(STATE)
    for back in tl.range(0, last - first, num_stages=STAGES):
        step = last - 1 - back
        t = tl.cast(time - 1 - step if REVERSE else step, tl.int64)
        before = t + 1 if REVERSE else t - 1
        source = kqv + t * kqv_time_stride
        k = tl.load(source, lanes, 0.0).to(STATE)
        q = tl.load(source + hidden, lanes, 0.0).to(STATE)
        v = tl.load(source + 2 * hidden, lanes, 0.0).to(STATE)
        if HAS_BIAS:
            k += bias_k
            q += bias_q
            v += bias_v
        own_grad = tl.load(grad_h + t * grad_time_stride, lanes, 0.0).to(STATE)
        grad = tl.full([BLOCK], 1.0, STATE) if PART == SUM else grad_state + own_grad
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
            if PART != SUM:
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
        grad_before = tl.where(padding, grad, grad_cell * forget_gate + grad_k - grad_q)
        if PART == SUM:
            slope *= grad_before
            grad_state = grad_before * (grad_state + own_grad)
        else:
            tl.store(out, tl.where(padding, 0.0, grad_k).to(out.dtype.element_ty), lanes)
            tl.store(out + hidden, tl.where(padding, 0.0, grad_q).to(out.dtype.element_ty), lanes)
            tl.store(
                out + 2 * hidden, tl.where(padding, 0.0, grad_v).to(out.dtype.element_ty), lanes
            )
            grad_state = grad_before
    if PART == SUM:
        tl.store(sums + lane, grad_state, lanes)
        tl.store(slopes + lane, slope, lanes)
    elif first == 0:
        place = grad_h0 + sentence * hidden + feature
        tl.store(place, grad_state.to(grad_h0.dtype.element_ty), lanes)


def _run_forward(
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    activation: str,
    reverse: bool,
    method: Callable[[Callable[..., None], Tensor, int], None],
) -> Tuple[Tensor, Tensor]:
    """The operator's kernel; *method* launches what computes one direction."""
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
        launch: Callable[..., None] = partial(
            _launch_forward,
            projections,
            mask,
            mask_strides,
            bias[direction].contiguous() if bias else h,
            h[:, :, part],
            states[:, :, part] if is_half(h) else h,
            REVERSE=reverse != (direction == 1),
            HALF=is_half(h),
            **_options(projections, h0, padding_mask, bias, activation),
        )
        with _on_device_of(h):
            method(launch, h0[direction].to(state_dtype(h)).contiguous(), time)
    return h, states


def _launch_forward(
    projections: Tensor,
    mask: Tensor,
    mask_strides: Sequence[int],
    bias: Tensor,
    h: Tensor,
    states: Tensor,
    part: tl.constexpr,
    start: Tensor,
    rounds: Tensor,
    ends: Tensor,
    slopes: Tensor,
    counts: Tensor,
    chunks: int = 1,
    length: int = 0,
    **options: Any,
) -> None:
    _forward_kernel[(*_grid(projections, h), chunks)](
        projections,
        start,
        mask,
        bias,
        h,
        states,
        rounds,
        ends,
        slopes,
        counts,
        len(h),
        h.size(-1),
        length,
        *projections.stride()[:2],
        *mask_strides,
        *h.stride()[:2],
        PART=getattr(part, "value", part),  # a number, which every version of Triton can hash
        **options,
    )


def _loop(launch: Callable[..., None], h0: Tensor, time: int) -> None:
    """All steps in order. Pointers that are not used are those of *h0*."""
    launch(WHOLE, h0, h0, h0, h0, h0)


def _newton(launch: Callable[..., None], h0: Tensor, time: int) -> None:
    """All chunks at once, in rounds; see :mod:`.parallel`. Nothing waits for the GPU."""
    length = parallel.gpu_chunk_length(time, h0.numel())
    chunks = triton.cdiv(time, length)
    rounds, counts = torch.zeros_like(h0, dtype=torch.int32), parallel.counter(h0.device)
    start = h0.new_empty(chunks + 1, *h0.shape)  # the last one is the state at the end
    start[0] = h0
    ends, slopes = torch.empty_like(start[1:]), torch.empty_like(start[1:])
    if chunks > 1:
        launch(GUESS, start, rounds, start[1:], slopes, counts, chunks, length)
    tolerance = parallel.tolerance(h0.dtype)
    for number in range(1, parallel.MAX_ROUNDS + 1):
        launch(CHUNK, start, rounds, ends, slopes, counts, chunks, length)
        _newton_kernel[(triton.cdiv(h0.numel(), LANES),)](
            start, ends, slopes, rounds, h0.numel(), chunks, number, tolerance, BLOCK=LANES
        )
        if chunks == 1:
            break
    launch(LEFT, h0, rounds, h0, h0, counts)


def _run_backward(
    grad_h: Tensor,
    kqv: List[Tensor],
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: List[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
    method: Callable[[Callable[..., None], Tensor, int], None],
) -> Tuple[List[Tensor], Tensor]:
    """The kernel of its gradient; *method* launches what computes one direction."""
    check_backward_call(grad_h, kqv, h0, padding_mask, bias, states, activation)
    time, batch, _ = kqv[0].shape
    hidden = h0.size(-1)
    grad_h, states = _with_contiguous_rows(grad_h), _with_contiguous_rows(states)
    grad_kqv = [projections.new_empty(projections.shape) for projections in kqv]
    grad_h0 = torch.zeros_like(h0, memory_format=torch.contiguous_format)
    if grad_h.numel() == 0:
        return grad_kqv, grad_h0
    mask, *mask_strides = _mask(padding_mask, grad_h)
    for direction, projections in enumerate(map(_with_contiguous_rows, kqv)):
        part = slice(direction * hidden, (direction + 1) * hidden)
        launch: Callable[..., None] = partial(
            _launch_backward,
            grad_h[:, :, part],
            projections,
            h0[direction].contiguous(),
            mask,
            mask_strides,
            bias[direction].contiguous() if bias else h0,
            states[:, :, part],
            grad_kqv[direction],
            grad_h0[direction],
            REVERSE=reverse != (direction == 1),
            **_options(projections, h0, padding_mask, bias, activation),
        )
        with _on_device_of(grad_h):
            method(launch, states.new_empty(batch, hidden), time)
    return grad_kqv, grad_h0


def _launch_backward(
    grad_h: Tensor,
    projections: Tensor,
    h0: Tensor,
    mask: Tensor,
    mask_strides: Sequence[int],
    bias: Tensor,
    states: Tensor,
    grad_kqv: Tensor,
    grad_h0: Tensor,
    part: tl.constexpr,
    done: Tensor,
    later: Tensor,
    sums: Tensor,
    slopes: Tensor,
    chunks: int = 1,
    length: int = 0,
    **options: Any,
) -> None:
    _backward_kernel[(*_grid(projections, h0), chunks)](
        grad_h,
        projections,
        h0,
        mask,
        bias,
        states,
        grad_kqv,
        grad_h0,
        done,
        later,
        sums,
        slopes,
        len(grad_h),
        h0.size(-1),
        length,
        *grad_h.stride()[:2],
        *projections.stride()[:2],
        *mask_strides,
        *states.stride()[:2],
        *grad_kqv.stride()[:2],
        PART=getattr(part, "value", part),  # a number, which every version of Triton can hash
        **options,
    )


def _loop_backward(launch: Callable[..., None], lanes: Tensor, time: int) -> None:
    """All steps in order, as :func:`_loop`; *lanes* is ``B x H`` in the type of the states."""
    launch(WHOLE, lanes, lanes, lanes, lanes)


def _newton_backward(launch: Callable[..., None], lanes: Tensor, time: int) -> None:
    """All chunks at once, except in lanes whose slopes overflow."""
    length = parallel.gpu_chunk_length(time, lanes.numel())
    chunks = triton.cdiv(time, length)
    done = torch.empty_like(lanes, dtype=torch.int32)
    later, sums, slopes = (lanes.new_empty(chunks, *lanes.shape) for _ in range(3))
    launch(SUM, done, later, sums, slopes, chunks, length)
    _later_kernel[(triton.cdiv(lanes.numel(), LANES),)](
        sums, slopes, later, done, lanes.numel(), chunks, BLOCK=LANES
    )
    launch(CHUNK, done, later, sums, slopes, chunks, length)
    launch(LEFT, done, later, sums, slopes)


_TRITON_TYPE = {torch.float32: tl.float32, torch.float64: tl.float64}


def _options(
    kqv: Tensor, h0: Tensor, padding_mask: Optional[Tensor], bias: List[Tensor], activation: str
) -> Dict[str, Any]:
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
    h, _ = _run_forward([kqv], h0, None, [], "tanh", False, _loop)
    _run_backward(h, [kqv], h0, None, [], h, "tanh", False, _loop_backward)


def register_kernels(device_type: str) -> None:
    """Register these as the operator's kernels for ``"cuda"`` or, interpreted, for ``"cpu"``."""
    for name, forward, backward in (
        ("lrn_scan", _loop, _loop_backward),
        ("lrn_scan_parallel", _newton, _newton_backward),
    ):
        key = device_type.upper()
        LIBRARY.impl(name, partial(_run_forward, method=forward), key)
        LIBRARY.impl(f"{name}_backward", partial(_run_backward, method=backward), key)
