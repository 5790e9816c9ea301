"""A stack of recurrent layers, each of which reads the output of the one below."""

from typing import Iterable, List, Optional, Tuple

import torch
from torch import Tensor, nn


class RecurrentStack(nn.ModuleList):
    """Recurrent layers on top of each other.

    For :meth:`forward`, a layer has ``initial_state(x)``, and its own ``forward(x, state,
    padding_mask)`` returns its output and its final state, like
    :class:`~fairseq_lrn.modules.RecurrentLayer`. For the other methods, the layers are
    :class:`~fairseq_lrn.modules.LRNDecoderLayer`; some of them may be without attention. Every
    layer is called as a module, so its hooks run.

    The stack is a ``ModuleList``, so the names of parameters start with the attribute that holds
    the stack and the index of the layer: ``layers.0.cells.0.projection.weight``.

    Args:
        layers: the layers, bottom first.
        dropout: dropout probability of the output of every layer except the last one, in
            :meth:`forward`.
    """

    def __init__(self, layers: Iterable[nn.Module], dropout: float = 0.0):
        super().__init__(layers)
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        states: Optional[List[Tensor]] = None,
        padding_mask: Optional[Tensor] = None,
        return_outputs: bool = False,
    ) -> Tuple[Tensor, List[Tensor], List[Tensor]]:
        """Run the stack over a sequence, without attention.

        Args:
            x: input, ``T x B x C``.
            states: initial states of each layer, ``D x B x state_size``; None: zeros.
            padding_mask: ``T x B``, true at padding, where the states are carried.
            return_outputs: return the output of every layer, too.

        Returns:
            output of the last layer ``T x B x C``, final states of every layer ``D x B x
            state_size``, and output of every layer (an empty list unless requested).
        """
        final_states: List[Tensor] = []
        outputs: List[Tensor] = []
        for index, layer in enumerate(self):
            if index > 0 and self.dropout > 0.0:
                x = torch.dropout(x, self.dropout, self.training)
            state = layer.initial_state(x) if states is None else states[index]
            result = layer(x, state, padding_mask)
            # A decoder layer also returns attention weights: None, as nothing is attended to.
            x, state = result[0], result[1]
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
        """Run the stack over a sequence, with attention to a source.

        Args:
            x: input, ``T x B x C``.
            states: initial state of each layer, ``1 x B x state_size``.
            memory: keys and values of each attending layer, ``S x B x C`` each, from
                :meth:`project_memory`.
            memory_padding_mask: ``B x S``, true at padding.
            padding_mask: ``T x B``, true at padding, where the states are carried.
            need_attn: return the attention weights of the last attending layer.

        Returns:
            output ``T x B x C``, final state of every layer ``1 x B x state_size``, and attention
            weights ``B x T x S`` (None unless requested).
        """
        final_states: List[Tensor] = []
        attn: Optional[Tensor] = None
        num_used = 0  # entries of the memory that the layers below have used
        for index, layer in enumerate(self):
            if layer.attends:
                is_last = num_used + 2 == len(memory)
                x, state, attn = layer(
                    x,
                    states[index],
                    padding_mask,
                    memory[num_used],
                    memory[num_used + 1],
                    memory_padding_mask,
                    need_attn and is_last,
                )
                num_used += 2
            else:
                x, state, _ = layer(x, states[index], padding_mask)
            final_states.append(state)
        return x, final_states, attn

    def project_memory(self, memory: Tensor) -> List[Tensor]:
        """Keys and values of each attending layer in turn.

        Args:
            memory: encoder output, ``S x B x E``.

        Returns:
            keys of the first attending layer, its values, keys of the next attending layer, and so
            on, ``S x B x C`` each.
        """
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
        """Decode one position of W hypotheses for each of B sentences.

        The hypotheses of a sentence share its memory.

        Args:
            x: input, ``W x B x C``.
            states: state of each layer, ``W*B x state_size``.
            memory: keys and values of each attending layer, ``S x B x C`` each, from
                :meth:`project_memory`.
            memory_padding_mask: ``B x S``, true at padding.

        Returns:
            output ``W x B x C`` and next state of each layer, ``W*B x state_size``.
        """
        next_states: List[Tensor] = []
        keys_and_values = iter(memory)
        for layer, state in zip(self, states):
            if layer.attends:
                keys, values = next(keys_and_values), next(keys_and_values)
                x, state, _ = layer(
                    x, state, None, keys, values, memory_padding_mask, one_position=True
                )
            else:
                x, state, _ = layer(x, state, one_position=True)
            next_states.append(state)
        return x, next_states
