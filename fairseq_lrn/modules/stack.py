"""A stack of recurrent layers: the one loop over layers that every model uses."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn


class RecurrentStack(nn.ModuleList):
    """Recurrent layers on top of each other.

    A layer has ``initial_state(x)`` and ``forward(x, state, padding_mask)``, which returns its
    output and its final state, like :class:`~fairseq_lrn.modules.RecurrentLayer`. A layer with the
    attribute ``attends`` set also has ``attend`` and ``attend_step``, like
    :class:`~fairseq_lrn.modules.LRNDecoderLayer`.

    It is a ``ModuleList``, so parameters are named after the attribute that holds it:
    ``layers.0.cells.0.projection.weight``.

    Args:
        layers: the layers, bottom first.
        dropout: probability of dropping elements of every layer's output except the last one's.
    """

    def __init__(self, layers, dropout: float = 0.0):
        super().__init__(layers)
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        states: Optional[List[Tensor]] = None,
        padding_mask: Optional[Tensor] = None,
        return_outputs: bool = False,
    ) -> Tuple[Tensor, List[Tensor], List[Tensor]]:
        """
        Args:
            x: input, ``T x B x C``.
            states: each layer's initial state, ``D x B x state_size``; None: zeros.
            padding_mask: ``T x B``, true at padding, where the states are carried.
            return_outputs: also return the output of every layer.

        Returns:
            output of the last layer ``T x B x C``, final state of every layer, and output of every
            layer (an empty list unless asked for).
        """
        final_states: List[Tensor] = []
        outputs: List[Tensor] = []
        for index, layer in enumerate(self):
            if index > 0 and self.dropout > 0.0:
                x = torch.dropout(x, self.dropout, self.training)
            state = layer.initial_state(x) if states is None else states[index]
            x, state = layer(x, state, padding_mask)
            final_states.append(state)
            if return_outputs:
                outputs.append(x)
        return x, final_states, outputs

    def attend(
        self,
        x: Tensor,
        states: List[Tensor],
        memory: List[Tensor],
        memory_padding_mask: Optional[Tensor] = None,
        padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
    ) -> Tuple[Tensor, List[Tensor], Optional[Tensor]]:
        """Run the stack with attention over a source.

        Args:
            x: input, ``T x B x C``.
            states: each layer's initial state, ``1 x B x state_size``.
            memory: keys and values of each attending layer, ``S x B x C`` each.
            memory_padding_mask: ``B x S``, true at padding.
            padding_mask: ``T x B``, true at padding.
            need_attn: return the attention weights of the last layer that attends.

        Returns:
            output ``T x B x C``, final state of every layer, and attention weights ``B x T x S``
            (None unless asked for).
        """
        final_states: List[Tensor] = []
        attn: Optional[Tensor] = None
        first = 0
        for index, layer in enumerate(self):
            if layer.attends:
                is_last = first + 2 == len(memory)
                x, state, attn = layer.attend(
                    x,
                    states[index],
                    memory[first],
                    memory[first + 1],
                    memory_padding_mask,
                    padding_mask,
                    need_attn and is_last,
                )
                first += 2
            else:
                x, state = layer(x, states[index], padding_mask)
            final_states.append(state)
        return x, final_states, attn

    def project_memory(self, memory: Tensor) -> List[Tensor]:
        """Keys and values of each attending layer, ``S x B x C``, from the memory ``S x B x E``."""
        projected: List[Tensor] = []
        for layer in self:
            if layer.attends:
                keys, values = layer.project_memory(memory)
                projected.append(keys)
                projected.append(values)
        return projected

    @torch.jit.unused
    def step(
        self,
        x: Tensor,
        states: List[Tensor],
        memory: List[Tensor],
        memory_padding_mask: Optional[Tensor] = None,
    ) -> Tuple[Tensor, List[Tensor]]:
        """Decode one position of W hypotheses for each of B sentences, which share a memory.

        Args:
            x: ``W x B x C``.
            states: state of each layer, ``W*B x state_size``.
            memory: see :meth:`attend`.
            memory_padding_mask: ``B x S``, true at padding.

        Returns:
            output ``W x B x C`` and the next state of each layer.
        """
        next_states: List[Tensor] = []
        remaining = list(memory)
        for layer, state in zip(self, states):
            keys_and_values, remaining = (
                (remaining[:2], remaining[2:]) if layer.attends else ([], remaining)
            )
            x, state = layer.step(x, state, *keys_and_values, memory_padding_mask)
            next_states.append(state)
        return x, next_states
