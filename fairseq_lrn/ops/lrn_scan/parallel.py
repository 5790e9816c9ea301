"""The recurrence in parallel over time: Newton's method on the states at the ends of chunks.

The states of all time steps solve one system of equations, h_t = F_t(h_{t-1}). Newton's method
solves it in a few rounds, each of which is a linear recurrence. The Jacobian of an LRN is diagonal,
so this recurrence has one number for each step and lane.

Here the unknowns are the states between chunks of steps. In each round, all chunks run the plain
recurrence at once, each from its guessed initial state s_c, and multiply its slopes to
a_c = dh_end / ds_c. The error d_c of the guess of chunk c then follows from a linear recurrence
over the chunks, d_{c+1} = a_c d_c + h_end(c) - s_{c+1}, d_0 = 0, which a parallel scan solves. With
chunks of one step, this is Newton's method on all states. Longer chunks need fewer rounds, since
what happens inside of a chunk is exact, and an LRN forgets.

After n rounds, the first n chunks are exact. A lane that is not exact after a given number of
rounds is computed step by step.

Source: Lim et al. (2023), "Parallelizing non-linear sequential models over the sequence length"
(DEER); Danieli et al. (2025), "ParaRNN", for the diagonal Jacobian. Unknowns between chunks are
known as multiple shooting.
"""

from functools import partial
from typing import Dict, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_lrn.ops.lrn_scan.reference import (
    lrn_scan_backward_reference,
    lrn_scan_reference,
    lrn_step,
    lrn_step_backward,
    split_gates,
)
from fairseq_lrn.ops.precision import state_dtype

# Rounds until the lanes that are left go step by step.
MAX_ROUNDS = 8
# Steps before each chunk from which the first guess of its initial state is computed.
WARM_UP = 16


class ParallelCounts(NamedTuple):
    """What the backend ``parallel`` has computed in this process.

    Attributes:
        lanes: lanes, that is features of sentences.
        rounds: sum of their rounds.
        step_by_step: lanes that were not exact after the last round, and were then computed step by
            step.
    """

    lanes: int
    rounds: int
    step_by_step: int


# One tensor for each device, so that counting does not wait for a GPU.
_counts: Dict[torch.device, Tensor] = {}


def parallel_counts() -> ParallelCounts:
    """The :class:`ParallelCounts` of all devices together, since the start of the process."""
    counts = [count.tolist() for count in _counts.values()]
    return ParallelCounts(*(sum(column) for column in zip([0, 0, 0], *counts)))


def counter(device: torch.device) -> Tensor:
    """The counts of a device, three int64 as in :class:`ParallelCounts`, to add to in place."""
    if device not in _counts:
        with torch.inference_mode(False):  # tensors of that mode cannot change outside of it
            _counts[device] = torch.zeros(3, dtype=torch.long, device=device)
    return _counts[device]


def is_faster(time: int, lanes: int) -> bool:
    """Whether a GPU is faster in parallel over time than step by step; see docs/kernels.md.

    Only the shape decides, so that a training run can be repeated.

    Args:
        time: number of steps T.
        lanes: number of lanes B*H.
    """
    return time >= 2048 and lanes <= 4096


class Solution(NamedTuple):
    """What Newton's method found.

    Attributes:
        states: all states, ``T x B x H``.
        rounds: the rounds that each lane took, ``B x H``; 0: computed step by step.
    """

    states: Tensor
    rounds: Tensor


def tolerance(dtype: torch.dtype) -> float:
    """Error of the states between chunks that counts as rounding, relative to the larger of 1 and
    the state."""
    return 1e-6 if dtype == torch.float32 else 1e-14


def lrn_scan_parallel(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """All states, ``T x B x H``, in float32 (float64 for float64); see :func:`solve`."""
    solution = solve(kqv, h0, padding_mask, bias, activation, reverse)
    rounds = solution.rounds
    seen = torch.stack([torch.ones_like(rounds), rounds, rounds == 0])
    counter(rounds.device).add_(seen.flatten(1).sum(1))
    return solution.states


def solve(
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
    *,
    chunk: Optional[int] = None,
    warm_up: int = WARM_UP,
    guess: Optional[Tensor] = None,
    max_rounds: Optional[int] = None,
) -> Solution:
    """Run the recurrence in one direction, in parallel over chunks, in plain torch.

    Args:
        kqv, h0, padding_mask, bias, activation, reverse: see
            :func:`~fairseq_lrn.ops.lrn_scan.reference.lrn_scan_reference`.
        chunk: number of steps of a chunk; None: :func:`chunk_length`.
        warm_up: steps before a chunk from which the first guess is computed, starting with zero.
        guess: in place of a warm-up, states ``T x B x H`` from which the first guess is taken.
        max_rounds: after so many rounds, the lanes that are left are computed step by step; None:
            :data:`MAX_ROUNDS`.
    """
    hidden = h0.size(-1)
    time = kqv.size(0)
    dtype = state_dtype(kqv)
    if time == 0 or h0.numel() == 0:
        rounds = torch.ones_like(h0, dtype=torch.long)
        return Solution(kqv.new_empty(time, *h0.shape, dtype=dtype), rounds)
    length = chunk or chunk_length(time)
    steps = _Steps(kqv, padding_mask, bias, hidden, activation, reverse, length)
    start = _first_guess(steps, h0.to(dtype), warm_up)
    if guess is not None:
        guess = guess.flip(0) if reverse else guess
        start[1:] = guess[steps.length - 1 : -1 : steps.length][: steps.chunks - 1]
    rounds = torch.zeros_like(h0, dtype=torch.long)
    states = start.new_empty(steps.chunks, steps.length, *h0.shape)
    for number in range(1, (max_rounds or MAX_ROUNDS) + 1):
        found, slopes = steps.run(start)
        left = rounds == 0
        states = torch.where(left, found, states)
        error = _scan_by_doubling(slopes[:-1], found[:-1, -1] - start[1:])
        size = torch.zeros_like(start[0])
        if len(error) > 0:  # a single chunk has nothing to correct
            size = (error.abs() / start[1:].abs().clamp(min=1.0)).amax(0)
        # A comparison with NaN is false: such a lane is not exact.
        rounds = rounds.masked_fill(left & (size <= tolerance(dtype)), number)
        # Further rounds would not remove a NaN.
        if bool(((rounds > 0) | size.isnan()).all()):
            break
        start = torch.cat([start[:1], start[1:] + error])
    states = states.flatten(0, 1)[:time]  # C x L x B x H to T x B x H
    if reverse:
        states = states.flip(0)
    lanes = (rounds == 0).nonzero(as_tuple=True)
    if len(lanes[0]) > 0:
        steps_in_order = torch.arange(time, device=states.device).unsqueeze(1)
        chosen = _chosen(lanes, kqv, h0, padding_mask, bias)
        exact = lrn_scan_reference(*chosen, None, activation, reverse).squeeze(-1)
        states = states.index_put((steps_in_order, *lanes), exact)
    return Solution(states, rounds)


def lrn_scan_parallel_backward(
    grad_h: Tensor,
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
    states: Tensor,
    activation: str,
    reverse: bool,
) -> Tuple[Tensor, Tensor]:
    """The gradients of *kqv* and *h0*: one linear recurrence from the last step to the first.

    It has no rounds, as the states are known. Lanes in which a product of slopes overflows are
    computed step by step: their gradient may be finite.

    Args:
        grad_h, kqv, h0, padding_mask, bias, states, activation, reverse: see
            :func:`~fairseq_lrn.ops.lrn_scan.reference.lrn_scan_backward_reference`.

    Returns:
        gradients of *kqv*, ``T x B x 3H`` (or ``4H``), and of *h0*, ``B x H``.
    """
    if states.numel() == 0:
        return torch.zeros_like(kqv), torch.zeros_like(h0)
    initial = h0.to(states.dtype).unsqueeze(0)  # 1 x B x H
    gates = split_gates(kqv.to(states.dtype), bias, h0.size(-1))
    before = torch.cat([states[1:], initial] if reverse else [initial, states[:-1]])
    padding = None if padding_mask is None else padding_mask.unsqueeze(-1)  # T x B x 1
    slopes = lrn_step_backward(torch.ones_like(before), *gates, before, activation)[1]
    if padding is not None:
        slopes = slopes.masked_fill(padding, 1.0)
    # From the last step to the first: the gradient of a state is its own and, through the slope of
    # the step after it, that of the next state.
    order = torch.clone if reverse else partial(torch.flip, dims=(0,))
    after = torch.cat([torch.zeros_like(slopes[:1]), order(slopes)[:-1]])
    grad = order(linear_scan(after, order(grad_h.to(states.dtype))))
    grads, grad_before = lrn_step_backward(grad, *gates, before, activation)
    grad_kqv = torch.cat(grads, dim=-1)
    if padding is not None:
        grad_kqv = grad_kqv.masked_fill(padding, 0.0)
        grad_before = torch.where(padding, grad, grad_before)
    grad_h0 = grad_before[-1 if reverse else 0]
    lanes = grad.isfinite().all(0).logical_not().nonzero(as_tuple=True)
    if len(lanes[0]) > 0:
        sentences, features = lanes
        chosen = _chosen(lanes, kqv, h0, padding_mask, bias)
        exact_kqv, exact_h0 = lrn_scan_backward_reference(
            grad_h[:, sentences, features].unsqueeze(-1),
            *chosen,
            None,
            states[:, sentences, features].unsqueeze(-1),
            activation,
            reverse,
        )
        gates_apart = grad_kqv.unflatten(-1, (-1, h0.size(-1)))  # T x B x 3H to T x B x 3 x H
        gates_apart[:, sentences, :, features] = exact_kqv.transpose(0, 1)
        grad_h0 = grad_h0.index_put(lanes, exact_h0.squeeze(-1))
    return grad_kqv.to(kqv.dtype), grad_h0.to(h0.dtype)


def linear_scan(slopes: Tensor, shifts: Tensor, chunk: Optional[int] = None) -> Tensor:
    """Solve x_t = slope_t * x_{t-1} + shift_t for all t at once, from x = 0 before the first step.

    Args:
        slopes, shifts: ``T x ...``.
        chunk: number of steps of a chunk; None: :func:`chunk_length`.

    Returns:
        x, ``T x ...``.
    """
    time, length = len(slopes), chunk or chunk_length(len(slopes))
    if time <= 1:
        return shifts
    padded = (F.pad(x.movedim(0, -1), (0, -time % length)).movedim(-1, 0) for x in (slopes, shifts))
    slope, shift = (x.unflatten(0, (-1, length)) for x in padded)  # T to C x L
    products, sums = [slope[:, 0]], [shift[:, 0]]
    for step in range(1, length):
        products.append(products[-1] * slope[:, step])
        sums.append(sums[-1] * slope[:, step] + shift[:, step])
    ends = _scan_by_doubling(products[-1], sums[-1])
    start = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
    chunks = [total + product * start for total, product in zip(sums, products)]
    return torch.stack(chunks, dim=1).flatten(0, 1)[:time]  # C x L to T


def _scan_by_doubling(slopes: Tensor, shifts: Tensor) -> Tensor:
    """:func:`linear_scan` in log2(T) steps (Hillis and Steele, 1986)."""
    reach = 1
    while reach < len(slopes):
        sums = shifts[reach:] + slopes[reach:] * shifts[:-reach]
        shifts = torch.cat([shifts[:reach], sums])
        slopes = torch.cat([slopes[:reach], slopes[reach:] * slopes[:-reach]])
        reach *= 2
    return shifts


def chunk_length(time: int) -> int:
    """Steps of a chunk for plain torch, where a chunk's steps and the chunks both cost calls."""
    length = 1
    while length * length < time:
        length *= 2
    return length


def gpu_chunk_length(time: int, lanes: int) -> int:
    """Steps of a chunk for the kernels of a GPU.

    Short chunks keep more of the GPU busy, but the programs that go through all chunks then have
    more to do, and the first guess costs more.

    Args:
        time: number of steps T.
        lanes: number of lanes B*H.
    """
    enough = time * lanes / 131072  # this many programs' threads fill a large GPU
    length = 64
    while length < min(enough, time) or length * length < time:
        length *= 2
    return length


class _Steps:
    """The steps of one direction, in the order of the recurrence, in chunks of equal length."""

    def __init__(
        self,
        kqv: Tensor,
        padding_mask: Optional[Tensor],
        bias: Optional[Tensor],
        hidden: int,
        activation: str,
        reverse: bool,
        length: int,
    ):
        time = kqv.size(0)
        self.length, self.activation = length, activation
        self.chunks = -(-time // length)
        added = self.chunks * length - time
        self.padding: Optional[Tensor] = None
        if padding_mask is not None or added:
            if padding_mask is None:
                padding_mask = kqv.new_zeros(kqv.shape[:2], dtype=torch.bool)
            padding = padding_mask.flip(0) if reverse else padding_mask
            padding = F.pad(padding, (0, 0, 0, added), value=True)
            self.padding = padding.unflatten(0, (self.chunks, length)).unsqueeze(-1)
        steps = F.pad(kqv.flip(0) if reverse else kqv, (0, 0, 0, 0, 0, added))
        if self.padding is not None:
            steps = steps.masked_fill(self.padding.flatten(0, 1), 0.0)
        steps = steps.to(state_dtype(kqv)).unflatten(0, (self.chunks, length))  # T to C x L
        self.gates = split_gates(steps, bias, hidden)

    def run(self, h: Tensor, first: int = 0) -> Tuple[Tensor, Tensor]:
        """Run all chunks from the initial states *h*, ``C x B x H``, and the step *first* on.

        Returns:
            states, ``C x L x B x H``, and the derivative of each chunk's last state by its initial
            one, ``C x B x H``.
        """
        slopes = torch.ones_like(h)
        states = []
        for step in range(first, self.length):
            k, q, v, o = self.gates
            gates = k[:, step], q[:, step], v[:, step], None if o is None else o[:, step]
            new_h = lrn_step(*gates, h, self.activation)
            slope = lrn_step_backward(torch.ones_like(h), *gates, h, self.activation)[1]
            if self.padding is not None:
                new_h = torch.where(self.padding[:, step], h, new_h)
                slope = slope.masked_fill(self.padding[:, step], 1.0)
            h, slopes = new_h, slopes * slope
            states.append(h)
        return torch.stack(states, dim=1), slopes


def _chosen(
    lanes: Tuple[Tensor, ...],
    kqv: Tensor,
    h0: Tensor,
    padding_mask: Optional[Tensor],
    bias: Optional[Tensor],
) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
    """The arguments of N lanes, which become sentences with one feature each.

    Args:
        lanes: sentence and feature of each lane.
        kqv, h0, padding_mask, bias: see :func:`solve`.

    Returns:
        projections with their bias ``T x N x 3`` (or 4), in the type of the states, initial states
        ``N x 1``, and padding ``T x N``.
    """
    sentences, features = lanes
    dtype = state_dtype(kqv)
    # T x B x 3H to T x N x 3
    gates = kqv.unflatten(-1, (-1, h0.size(-1)))[:, sentences, :, features].transpose(0, 1)
    gates = gates.to(dtype)
    if bias is not None:
        gates = gates + bias.to(dtype).unflatten(0, (-1, h0.size(-1)))[:, features].t()
    padding = None if padding_mask is None else padding_mask[:, sentences]
    return gates, h0[sentences, features].unsqueeze(-1).to(dtype), padding


def _first_guess(steps: _Steps, h0: Tensor, warm_up: int) -> Tensor:
    """Initial states ``C x B x H``: the first one is *h0*, the others follow a few steps' run."""
    start = h0.new_zeros(steps.chunks, *h0.shape)
    start[0] = h0
    if warm_up > 0 and steps.chunks > 1:
        first = max(0, steps.length - warm_up)
        before, _ = steps.run(start if first == 0 else torch.zeros_like(start), first)
        start = torch.cat([start[:1], before[:-1, -1]])
    return start
