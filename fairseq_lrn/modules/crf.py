"""A linear-chain conditional random field: probabilities of whole sequences of tags."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

# The score of what is not allowed. Its exponential is 0, but unlike -inf it never leads to nan.
FORBIDDEN = -1e30
# While no factor is below SMALL_FACTOR, and no probability is between 0 and SMALL_PROBABILITY, no
# product of probabilities and factors underflows.
SMALL_FACTOR = 1e-50
SMALL_PROBABILITY = 1e-100


class LinearChainCRF(nn.Module):
    r"""A linear-chain conditional random field.

    The score of a sequence of tags y is start[y_1] + sum_t emissions[t, y_t]
    + sum_t transitions[y_{t-1}, y_t] + end[y_T], and its probability is the softmax of the scores
    of all sequences. Padding may be anywhere: the sequences are what remains without it.

    Everything is computed in float64, also under autocast. Second derivatives are not supported.

    Args:
        num_tags: number of tags K.
        allowed: whether each tag may be first, ``K``, whether each tag may follow another,
            ``K x K`` (from, to), and whether each tag may be last, ``K``. Sequences that are not
            allowed have probability 0, in training as well. None: all are allowed.

    Raises:
        ValueError: *allowed* has other shapes, or no tag may be first, follow another or be last.

    Source: Lafferty et al. (2001).
    """

    def __init__(self, num_tags: int, allowed: Optional[Tuple[Tensor, Tensor, Tensor]] = None):
        super().__init__()
        self.num_tags = num_tags
        self.start = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.end = nn.Parameter(torch.empty(num_tags))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)
        self.constrained = allowed is not None
        for name, part in zip(("start", "transitions", "end"), allowed or ()):
            shape = getattr(self, name).shape
            if part.shape != shape:
                raise ValueError(f"allowed {name} must be {tuple(shape)}, not {tuple(part.shape)}")
            if not part.any():
                raise ValueError(f"allowed {name} leave no possible tag")
            self.register_buffer(f"forbidden_{name}", ~part.bool(), persistent=False)

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}, constrained={self.constrained}"

    def forward(
        self, emissions: Tensor, tags: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tensor:
        """Negative log-likelihood of sequences of tags.

        Args:
            emissions: score of each tag at each position, ``T x B x K``.
            tags: the right tags, ``T x B``; any number at padding.
            padding_mask: ``T x B``, true at padding.

        Returns:
            negative log-likelihood of each sequence in nats, ``B``, in float32 (float64 for
            emissions in float64). It is 0 for a sequence without positions.

        Raises:
            ValueError: a sequence of tags is not allowed, or shapes do not fit.
            TypeError: *padding_mask* is not boolean.
        """
        self._check(emissions, padding_mask, tags)
        dtype = torch.promote_types(emissions.dtype, torch.float32)
        if emissions.numel() == 0:
            return emissions.sum((0, 2), dtype=dtype)
        packed = _Packed(emissions, padding_mask)
        if padding_mask is not None:
            tags = tags.masked_fill(padding_mask, 0)
        emissions, tags = packed.pack(emissions), packed.pack(tags)
        unary = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).double()
        self._check_allowed(tags, packed)
        start, transitions, end = self._scores()
        steps = transitions.flatten().gather(0, self._steps(tags).flatten()).view(-1, tags.size(1))
        score = unary.masked_fill(packed.padding, 0.0).sum(0)
        score = score + steps.masked_fill(packed.padding[1:], 0.0).sum(0)
        ends = start[tags[0]] + end[packed.last(tags)]
        score = score + ends.masked_fill(packed.is_empty, 0.0)
        log_z = _log_partition(emissions.double(), start, transitions, end, packed)
        return (log_z - score).to(dtype)

    @torch.no_grad()
    def decode(self, emissions: Tensor, padding_mask: Optional[Tensor] = None) -> Tensor:
        """The most probable sequences of tags (Viterbi algorithm).

        Args:
            emissions: score of each tag at each position, ``T x B x K``.
            padding_mask: ``T x B``, true at padding.

        Returns:
            tags ``T x B``, 0 at padding.

        Raises:
            ValueError: no sequence of this length is allowed, or shapes do not fit.
            TypeError: *padding_mask* is not boolean.
        """
        self._check(emissions, padding_mask)
        if emissions.numel() == 0:
            return emissions.new_zeros(emissions.shape[:2], dtype=torch.int64)
        packed = _Packed(emissions, padding_mask)
        start, transitions, end = self._scores()
        backward = transitions.t().contiguous()  # to x from
        first, *rest = packed.pack(emissions.double()).unbind(0)
        # The score of the best sequence up to each position that ends with each tag, B x K.
        best = [start + first]
        for emission in rest:
            best.append((best[-1].unsqueeze(1) + backward).amax(2).add_(emission))
        scores, last = (packed.last(torch.stack(best)) + end).max(1)
        _check_possible(scores, packed)
        # Going back along the best sequence needs the best step to one tag at each position only.
        tag, tags = last, [last]
        for t in range(len(rest), 0, -1):
            step = (best[t - 1] + backward[tag]).argmax(1)
            tag = torch.where(packed.final >= t, step, last)
            tags.append(tag)
        return packed.unpack(torch.stack(tags[::-1]).masked_fill_(packed.padding, 0))

    def marginals(self, emissions: Tensor, padding_mask: Optional[Tensor] = None) -> Tensor:
        """The probability of each tag at each position, without gradients.

        Args:
            emissions: score of each tag at each position, ``T x B x K``.
            padding_mask: ``T x B``, true at padding.

        Returns:
            probabilities ``T x B x K``, 0 at padding, in the type of :meth:`forward`.

        Raises:
            ValueError: no sequence of this length is allowed, or shapes do not fit.
            TypeError: *padding_mask* is not boolean.
        """
        self._check(emissions, padding_mask)
        dtype = torch.promote_types(emissions.dtype, torch.float32)
        if emissions.numel() == 0:
            return torch.zeros_like(emissions, dtype=dtype)
        # They are the gradient of the log-partition function. This mode allows gradients anywhere,
        # also within no_grad.
        with torch.inference_mode(False):
            # A mask of that mode could not be saved for the gradient.
            padding_mask = None if padding_mask is None else padding_mask.clone()
            packed = _Packed(emissions, padding_mask)
            packed_emissions = packed.pack(emissions.detach().to(torch.float64, copy=True))
            packed_emissions.requires_grad_(True)
            log_z = _log_partition(packed_emissions, *self._scores(), packed)
            _check_possible(log_z, packed)
            (gradient,) = torch.autograd.grad(log_z.sum(), packed_emissions)
        return packed.unpack(gradient).to(dtype)

    def _scores(self) -> Tuple[Tensor, Tensor, Tensor]:
        """Scores of starts, transitions and ends in float64."""
        scores = self.start.double(), self.transitions.double(), self.end.double()
        if not self.constrained:
            return scores
        start, transitions, end = scores
        return (
            start.masked_fill(self.forbidden_start, FORBIDDEN),
            transitions.masked_fill(self.forbidden_transitions, FORBIDDEN),
            end.masked_fill(self.forbidden_end, FORBIDDEN),
        )

    def _steps(self, tags: Tensor) -> Tensor:
        """Indices of the transitions between *tags*, ``T x B``, in the flat matrix: T-1 x B."""
        return tags[:-1] * self.num_tags + tags[1:]

    def _check(
        self, emissions: Tensor, padding_mask: Optional[Tensor], tags: Optional[Tensor] = None
    ) -> None:
        if emissions.dim() != 3 or emissions.size(2) != self.num_tags:
            raise ValueError(
                f"emissions must be T x B x {self.num_tags}, not {tuple(emissions.shape)}"
            )
        if padding_mask is not None and padding_mask.dtype != torch.bool:
            raise TypeError(f"padding_mask must be torch.bool, not {padding_mask.dtype}")
        for name, tensor in (("padding_mask", padding_mask), ("tags", tags)):
            if tensor is not None and tensor.shape != emissions.shape[:2]:
                raise ValueError(
                    f"{name} must be {tuple(emissions.shape[:2])}, as the emissions are, not "
                    f"{tuple(tensor.shape)}"
                )

    def _check_allowed(self, tags: Tensor, packed: "_Packed") -> None:
        if not self.constrained:
            return
        steps = self.forbidden_transitions.flatten()[self._steps(tags)]
        wrong = torch.cat([self.forbidden_start[tags[:1]], steps])  # T x B
        wrong |= self.forbidden_end[tags] & packed.is_last
        wrong &= ~packed.padding
        if not wrong.any():
            return
        t, sequence = wrong.nonzero()[0].tolist()
        tag, place = tags[t, sequence], "at the end"
        if t == 0 and self.forbidden_start[tag]:
            place = "at the start"
        elif t > 0 and self.forbidden_transitions[tags[t - 1, sequence], tag]:
            place = f"after tag {int(tags[t - 1, sequence])}"
        position = t if packed.order is None else int(packed.order[t, sequence])
        raise ValueError(
            f"sequence {sequence}, position {position}: tag {int(tag)} is not allowed {place}"
        )


class _Packed:
    """A batch whose padding is moved behind the sequences.

    Attributes:
        order: the position that each position comes from, ``T x B``; None if none moves.
        padding: whether there is padding after the move, ``T x B``.
        final: last position of each sequence after the move, ``B``; 0 if it has none.
        is_last: whether a position is the last of its sequence, ``T x B``.
        is_empty: whether a sequence has no position, ``B``.
    """

    def __init__(self, emissions: Tensor, padding_mask: Optional[Tensor]):
        if padding_mask is None:
            padding_mask = emissions.new_zeros(emissions.shape[:2], dtype=torch.bool)
        self.order: Optional[Tensor] = None
        if (padding_mask[:-1] & ~padding_mask[1:]).any():
            self.order = padding_mask.byte().argsort(dim=0, stable=True)
            padding_mask = padding_mask.gather(0, self.order)
        self.padding = padding_mask
        lengths = (~padding_mask).sum(0)
        self.is_empty = lengths == 0
        self.final = (lengths - 1).clamp_(min=0)
        time, batch = padding_mask.shape
        self._column = torch.arange(batch, device=padding_mask.device)  # B
        self._time = torch.arange(time, device=padding_mask.device).unsqueeze(1)  # T x 1
        self.is_last = (self._time == self.final) & ~padding_mask

    def pack(self, x: Tensor) -> Tensor:
        """Move the padding of *x*, ``T x B`` or ``T x B x K``, behind the sequences."""
        return x if self.order is None else x[self.order, self._column]

    def unpack(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`pack`."""
        if self.order is None:
            return x
        return torch.empty_like(x).index_put_((self.order, self._column), x)

    def last(self, x: Tensor) -> Tensor:
        """*x* at the last position of each sequence."""
        return x[self.final, self._column]

    def reverse(self, x: Tensor) -> Tensor:
        """Reverse each sequence of *x*, ``T x B x K``. Padding stays at the end."""
        t = self._time
        return x[torch.where(self.padding, t, self.final - t), self._column]


def _check_possible(log_scores: Tensor, packed: _Packed) -> None:
    """Refuse a batch with a sequence of which all taggings are forbidden."""
    impossible = (log_scores < FORBIDDEN / 2) & ~packed.is_empty
    if impossible.any():
        length = int(packed.final[impossible][0]) + 1
        raise ValueError(f"no sequence of {length} tags is allowed")


def _log_partition(
    emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, packed: _Packed
) -> Tensor:
    """Logarithm of the sum over all sequences of tags of exp(score), ``B``; see LinearChainCRF.

    All tensors are in float64.
    """
    operands = emissions, start, transitions, end
    needs_grad = torch.is_grad_enabled() and any(operand.requires_grad for operand in operands)
    log_z, is_exact = _LogPartition.apply(*operands, packed, needs_grad)
    if is_exact:
        return log_z
    return _log_partition_in_log_space(*operands, packed)


def _log_partition_in_log_space(
    emissions: Tensor, start: Tensor, transitions: Tensor, end: Tensor, packed: _Packed
) -> Tensor:
    """:func:`_log_partition` for any finite scores. It takes several times as long."""
    alpha = start + emissions[0]  # B x K
    for emission, padding in zip(emissions[1:], packed.padding[1:]):
        following = torch.logsumexp(alpha.unsqueeze(2) + transitions, 1) + emission
        alpha = torch.where(padding.unsqueeze(1), alpha, following)
    return torch.logsumexp(alpha + end, 1).masked_fill(packed.is_empty, 0.0)


class _LogPartition(torch.autograd.Function):
    """The log-partition function by the forward-backward algorithm, without logarithms.

    The second output is false if a probability may have underflowed; the first is then useless.
    """

    @staticmethod
    def forward(ctx, emissions, start, transitions, end, packed, needs_grad):
        padding = packed.padding.unsqueeze(2)
        # Scores become factors of at most 1. Those that are subtracted are added to the result.
        highest = emissions.amax(2, keepdim=True)
        factors = (emissions - highest).exp_().masked_fill_(padding, 1.0)  # T x B x K
        smallest = factors.min()
        heights = [scores.max() for scores in (start, transitions, end)]
        first, matrix, last = parts = [
            (scores - height).exp_() for scores, height in zip((start, transitions, end), heights)
        ]
        if needs_grad:
            # The backward recursion is the forward one, on the reversed sequences and model.
            factors = torch.stack([factors, packed.reverse(factors)], 1)
            firsts, matrices = torch.stack([first, last]), torch.stack([matrix, matrix.t()])
        else:
            factors, firsts, matrices = factors.unsqueeze(1), first[None], matrix[None]
        # From here on D x B x K at each time step, with D = 2, or 1 if no gradient is needed.
        p, total = [], []
        for t, factor in enumerate(factors.unbind(0)):
            x = torch.bmm(p[-1], matrices).mul_(factor) if t else factor * firsts.unsqueeze(1)
            total.append(x.sum(2, keepdim=True))
            p.append(x.div_(total[-1]))
        p = torch.stack(p).masked_fill_(padding.unsqueeze(1), 0.0)  # T x D x B x K
        logs = torch.stack(total)[:, 0].log() + highest
        alpha = p[:, 0]
        log_z = logs.masked_fill_(padding, 0.0).sum((0, 2)) + (packed.last(alpha) @ last).log_()
        log_z += heights[0] + packed.final * heights[1] + heights[2]
        log_z.masked_fill_(packed.is_empty, 0.0)
        is_exact = torch.isfinite(log_z).all() & (smallest >= SMALL_FACTOR)
        is_exact &= torch.where(p > 0.0, p, 1.0).min() >= SMALL_PROBABILITY
        for part, scores in zip(parts, (start, transitions, end)):
            is_exact &= ((part >= SMALL_FACTOR) | (scores < FORBIDDEN / 2)).all()
        ctx.mark_non_differentiable(is_exact)
        if needs_grad:
            ctx.packed = packed
            ctx.save_for_backward(alpha, packed.reverse(p[:, 1]), matrix, last)
        return log_z, is_exact

    @staticmethod
    def backward(ctx, grad, _):
        if torch.is_grad_enabled():
            raise RuntimeError("create_graph=True: LinearChainCRF has no second derivatives")
        alpha, u, matrix, last = ctx.saved_tensors
        packed = ctx.packed
        # u is beta times the factors of its position, so beta comes from the next position's u.
        beta = (u @ matrix.t()).roll(-1, 0)
        beta = torch.where(packed.is_last.unsqueeze(2), last, beta)
        unary = alpha * beta
        weight = grad.unsqueeze(1) / unary.sum(2, keepdim=True)
        weight = weight.masked_fill(packed.padding.unsqueeze(2), 0.0)  # T x B x 1
        unary *= weight
        pairs = alpha[:-1].flatten(0, 1).t() @ (u[1:] * weight[:-1]).flatten(0, 1)
        return unary, unary[0].sum(0), pairs * matrix, packed.last(unary).sum(0), None, None
