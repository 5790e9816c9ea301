"""Conditional recurrences: two cells that share one state, and a context between them.

Source: the authors' toolkit (bzhangGo/zero, ``rnns/rnn.py: cond_rnn``).
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import NORM_EPS, Affine, is_plain_affine, is_standard_norm
from fairseq_lrn.modules.attention import AdditiveAttention
from fairseq_lrn.modules.cells import LRNCell, build_cell, continuing_states
from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.ops.attentive_recurrence import NormedMap, attentive_recurrence, can_fuse
from fairseq_lrn.ops.lrn_scan import scan_directions


class AlignedRecurrence(nn.Module):
    """Conditional recurrence over a memory of the same length as the input ("one-to-one").

    At each step t, the lower cell reads x_t and the upper cell reads the memory m_t. For LRN and
    oLRN this is a single scan over the interleaved sequence x_1, m_1, x_2, m_2, ...

    Args:
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        input_size: width C of the input.
        memory_size: width M of the memory.
        hidden_size: width H of the output.
        **options: passed to :func:`~fairseq_lrn.modules.cells.build_cell`.
    """

    is_one_scan: torch.jit.Final[bool]

    def __init__(self, cell: str, input_size: int, memory_size: int, hidden_size: int, **options):
        super().__init__()
        self.lower = build_cell(cell, input_size, hidden_size, **options)
        self.upper = build_cell(cell, memory_size, hidden_size, **options)
        self.hidden_size = hidden_size
        self.state_size = self.lower.state_size
        self.is_one_scan = self.lower.runs_in_scan

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        """Run the recurrence over a sequence.

        Args:
            x: input, ``T x B x C``.
            memory: ``T x B x M``.
            state: initial state, ``B x state_size``.
            padding_mask: ``T x B``, true at padding, where the state is carried.
            reverse: run from the last time step to the first.

        Returns:
            output ``T x B x H`` and final state ``B x state_size``.
        """
        if not torch.jit.is_scripting():
            if not is_plain(self.lower, self.upper):
                return self._call_cells(x, memory, state, padding_mask, reverse)
        if self.is_one_scan:
            return self._scan(x, memory, state, padding_mask, reverse)
        # B x P each
        lower, upper = self.lower.project(x).unbind(0), self.upper.project(memory).unbind(0)
        padding: List[Tensor] = []
        if padding_mask is not None:
            padding.extend(padding_mask.unbind(0))
        outputs: List[Tensor] = []
        for step in range(len(lower)):
            t = len(lower) - 1 - step if reverse else step
            pad = padding[t] if padding else None
            state = self.lower.masked_step(lower[t], state, pad)
            state = self.upper.masked_step(upper[t], state, pad)
            outputs.append(state[:, : self.hidden_size])
        if len(outputs) == 0:
            return x.new_zeros(0, x.size(1), self.hidden_size), state
        if reverse:
            outputs.reverse()
        return torch.stack(outputs), state

    @torch.jit.unused
    def _call_cells(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor],
        reverse: bool,
    ) -> Tuple[Tensor, Tensor]:
        """:meth:`forward` with a call of both cells at each step, so that their hooks run."""
        outputs = [x.new_zeros(0, x.size(1), self.hidden_size)]
        for t in reversed(range(x.size(0))) if reverse else range(x.size(0)):
            now = slice(t, t + 1)
            mask = None if padding_mask is None else padding_mask[now]
            _, state = self.lower(x[now], state, mask)
            output, state = self.upper(memory[now], state, mask)
            outputs.append(output)
        return torch.cat(outputs[::-1] if reverse else outputs), state

    def _scan(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor],
        reverse: bool,
    ) -> Tuple[Tensor, Tensor]:
        # Two cells have two biases and the scan takes one, so the projections add the biases.
        lower, upper = self.lower.projection(x), self.upper.projection(memory)
        no_bias: List[Tensor] = []
        # At each time step, the scan must come to the lower cell first, in either direction.
        pair = [upper, lower] if reverse else [lower, upper]
        kqv = torch.stack(pair, dim=1).flatten(0, 1)  # T x 2 x B x P to 2T x B x P
        mask = None if padding_mask is None else padding_mask.repeat_interleave(2, dim=0)  # 2T x B
        activation = self.lower.activation
        h, states = scan_directions([kqv], state.unsqueeze(0), mask, no_bias, activation, reverse)
        if h.size(0) == 0:
            return h, state
        final = continuing_states(h, states, state)[0 if reverse else -1]
        return h[0::2] if reverse else h[1::2], final  # T x B x H: the states after the upper cell


class AttentiveRecurrence(nn.Module):
    """Conditional recurrence with attention between its two cells.

    At each step t, the lower cell reads x_t. Attention computes a context c_t, with the new state
    as the query. The upper cell reads c_t. This loop is sequential, so everything that does not
    depend on the state is computed before it: the projection of the lower cell and the keys of the
    attention.

    For LRN and oLRN in float32 on a CPU, one operator runs the loop
    (:func:`~fairseq_lrn.ops.attentive_recurrence.attentive_recurrence`).

    Args:
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        input_size: width C of the input.
        memory_size: width M of the memory and of the contexts.
        hidden_size: width H of the output.
        num_heads: number of attention heads; must divide *memory_size*.
        norm: normalisation of the cells and of the attention, see
            :func:`~fairseq_lrn.modules.cells.build_cell`.
        **options: passed to :func:`~fairseq_lrn.modules.cells.build_cell`.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        memory_size: int,
        hidden_size: int,
        num_heads: int = 1,
        norm: Optional[str] = None,
        **options,
    ):
        super().__init__()
        self.lower = build_cell(cell, input_size, hidden_size, norm=norm, **options)
        self.upper = build_cell(cell, memory_size, hidden_size, norm=norm, **options)
        self.attention = AdditiveAttention(hidden_size, memory_size, num_heads, norm)
        self.hidden_size = hidden_size
        self.state_size = self.lower.state_size

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        memory_padding_mask: Optional[Tensor] = None,
        keys: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run the recurrence over a sequence.

        Args:
            x: input, ``T x B x C``.
            memory: ``S x B x M``.
            state: initial state, ``B x state_size``.
            padding_mask: ``T x B``, true at padding, where the state is carried.
            memory_padding_mask: ``B x S``, true at padding.
            keys: ``attention.keys(memory)``, ``B x S x M``, if already computed.

        A single step without padding and without gradients may have W hypotheses for each sentence,
        which share its memory: *x* is then ``1 x W*B x C`` and *state* ``W*B x state_size``, where
        row ``w * B + b`` is hypothesis w of sentence b.

        Returns:
            output ``T x B x H``, final state ``B x state_size``, contexts ``T x B x M`` (at
            padding, the contexts of the carried state), attention weights ``T x B x S x heads``.
        """
        if not torch.jit.is_scripting():
            if x.size(0) == 1 and padding_mask is None and not torch.is_grad_enabled():
                return self._step(x, memory, state, memory_padding_mask, keys)
            if not is_plain(self.lower, self.attention, self.upper):
                return self._call_parts(x, memory, state, padding_mask, memory_padding_mask)
        if keys is None:
            keys = self.attention.keys(memory)
        score_bias = self.attention.score_bias(keys, memory_padding_mask)
        if not torch.jit.is_scripting():
            if self._is_fused(x, memory):
                return self._fused(x, memory, state, padding_mask, score_bias, keys)
        projected = self.lower.project(x).unbind(0)  # B x P each
        padding: List[Tensor] = []
        if padding_mask is not None:
            padding.extend(padding_mask.unbind(0))
        outputs: List[Tensor] = []
        contexts: List[Tensor] = []
        weights: List[Tensor] = []
        for t in range(len(projected)):
            pad = padding[t] if padding else None
            state = self.lower.masked_step(projected[t], state, pad)
            attn = self.attention.weights(state[:, : self.hidden_size], keys, score_bias)
            weights.append(attn)
            context = self.attention.read(attn.unsqueeze(0), memory)[0]  # B x M
            contexts.append(context)
            state = self.upper.masked_step(self.upper.project(context), state, pad)
            outputs.append(state[:, : self.hidden_size])
        if len(outputs) == 0:
            no_output = x.new_zeros(0, x.size(1), self.hidden_size)
            no_contexts = memory.new_zeros(0, x.size(1), memory.size(2))
            no_weights = x.new_zeros(0, x.size(1), keys.size(1), self.attention.num_heads)
            return no_output, state, no_contexts, no_weights
        return torch.stack(outputs), state, torch.stack(contexts), torch.stack(weights)

    @torch.jit.unused
    def _step(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        memory_padding_mask: Optional[Tensor],
        keys: Optional[Tensor],
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """:meth:`forward` over one step without padding and without gradients."""
        if not is_plain(self.lower, self.attention, self.upper):
            hypotheses = x.size(1) // memory.size(1)
            if memory_padding_mask is not None:
                memory_padding_mask = memory_padding_mask.repeat(hypotheses, 1)  # W*B x S
            memory = memory.repeat(1, hypotheses, 1)  # S x W*B x M
            return self._call_parts(x, memory, state, None, memory_padding_mask)
        if keys is None:
            keys = self.attention.keys(memory)
        score_bias = self.attention.score_bias(keys, memory_padding_mask)
        state = self.lower.step(self.lower.project(x[0]), state)
        query = state[:, : self.hidden_size]
        context, weights = self.attention.attend(query, keys, memory, score_bias)
        state = self.upper.step(self.upper.project(context), state)
        output = state[:, : self.hidden_size]
        return output.unsqueeze(0), state, context.unsqueeze(0), weights.unsqueeze(0)

    @torch.jit.unused
    def _is_fused(self, x: Tensor, memory: Tensor) -> bool:
        """Whether one operator computes the loop."""
        parts = (self.lower, self.upper, self.attention.score_proj)
        maps = (self.upper.projection, self.attention.query_proj)
        return (
            type(self.lower) is LRNCell
            and x.size(0) > 1
            and memory.numel() > 0
            and can_fuse(x)
            and is_plain(*parts)
            and is_plain_affine(*maps)
            and all(is_standard_norm(norm) for one in maps for norm in one.norms)
        )

    @torch.jit.unused
    def _fused(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor],
        score_bias: Tensor,
        keys: Tensor,
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """:meth:`forward` in one operator."""
        attention = self.attention
        lower_bias, upper_bias = (
            next(iter(cell.biases()), None) for cell in (self.lower, self.upper)
        )
        outputs, contexts, weights = attentive_recurrence(
            self.lower.project(x), state, memory, keys, score_bias.squeeze(-1), padding_mask,
            lower_bias, attention.score_proj.weight[0], _normed_map(attention.query_proj),
            attention.query_proj.bias, _normed_map(self.upper.projection), upper_bias,
            self.lower.activation, attention.num_heads, NORM_EPS,
        )  # fmt: skip
        return outputs, outputs[-1], contexts, weights

    @torch.jit.unused
    def _call_parts(
        self,
        x: Tensor,
        memory: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor],
        memory_padding_mask: Optional[Tensor],
    ) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """:meth:`forward` with a call of each part at each step, so that their hooks run."""
        sentences = x.size(1)
        outputs = [x.new_zeros(0, sentences, self.hidden_size)]
        contexts = [memory.new_zeros(0, sentences, memory.size(2))]
        weights = [x.new_zeros(0, sentences, memory.size(0), self.attention.num_heads)]
        for t in range(x.size(0)):
            now = slice(t, t + 1)
            mask = None if padding_mask is None else padding_mask[now]
            query, state = self.lower(x[now], state, mask)
            context, attn = self.attention(query[0], memory, memory_padding_mask)
            output, state = self.upper(context.unsqueeze(0), state, mask)
            outputs.append(output)
            contexts.append(context.unsqueeze(0))
            weights.append(attn.unsqueeze(0))
        return torch.cat(outputs), state, torch.cat(contexts), torch.cat(weights)


def _normed_map(module: Affine) -> NormedMap:
    """The parameters of a map with at most one layer norm."""
    if len(module.norms) == 0:
        return NormedMap(module.weight, None, None)
    norm = module.norms[0]
    return NormedMap(module.weight, norm.weight, norm.bias)
