"""Encoder and decoder layers of the paper's translation model (architecture ``lrn_rnmt``).

Source: the authors' toolkit (bzhangGo/zero, ``models/deepnmt.py``).
"""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import NORM_EPS, Affine
from fairseq_lrn.modules.conditional import AlignedRecurrence, AttentiveRecurrence
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.recurrence import RecurrentLayer


class OutputBranch(nn.Module):
    """What ends every layer: an affine map, the residual connection, layer norm.

    The residual connection is there where input and output are equally wide. Dropout is on the
    branch before it joins, and so only there.

    Args:
        branch_size: width of the recurrence's output.
        input_size: width of the layer's input.
        output_size: width of the layer's output.
        dropout: probability of dropping elements of the branch.
        layer_norm: normalise the sum.
    """

    residual: torch.jit.Final[bool]

    def __init__(
        self, branch_size: int, input_size: int, output_size: int, dropout: float, layer_norm: bool
    ):
        super().__init__()
        self.out_proj = Linear(branch_size, output_size)
        self.residual = input_size == output_size
        self.dropout_module = Dropout(dropout, module_name=self.__class__.__name__)
        self.layer_norm = nn.LayerNorm(output_size, eps=NORM_EPS) if layer_norm else nn.Identity()

    def forward(self, branch: Tensor, x: Tensor) -> Tensor:
        branch = self.out_proj(branch)
        if self.residual:
            branch = x + self.dropout_module(branch)
        return self.layer_norm(branch)


class RNMTEncoderLayer(nn.Module):
    """A plain recurrence, forward or in both directions.

    Args:
        input_size: width C of the input.
        hidden_size: width H of the recurrence in each direction.
        output_size: width of the output.
        bidirectional: also backward, outputs and final states concatenated.
        dropout: see :class:`OutputBranch`.
        layer_norm: of the output; that of the recurrence is among its options.
        **recurrence: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        bidirectional: bool = False,
        dropout: float = 0.0,
        layer_norm: bool = True,
        **recurrence,
    ):
        super().__init__()
        self.recurrence = RecurrentLayer(
            input_size=input_size,
            hidden_size=hidden_size,
            bidirectional=bidirectional,
            **recurrence,
        )
        self.final_size = self.recurrence.num_directions * hidden_size
        self.branch = OutputBranch(self.final_size, input_size, output_size, dropout, layer_norm)

    def initial_state(self, x: Tensor) -> Tensor:
        """States of zeros, ``D x B x state_size``, for the input ``S x B x C``."""
        return self.recurrence.initial_state(x)

    def forward(
        self, x: Tensor, state: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x: ``S x B x C``.
            state: initial states, ``D x B x state_size``.
            padding_mask: ``S x B``, true at padding.

        Returns:
            output ``S x B x output_size`` and final states ``D x B x state_size``.
        """
        h, state = self.recurrence(x, state, padding_mask)
        return self.branch(h, x), state


class ContextAwareEncoderLayer(nn.Module):
    """Context-aware encoder: what was read forward is the memory of the backward recurrence.

    Arguments and results are those of :class:`RNMTEncoderLayer`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        dropout: float = 0.0,
        layer_norm: bool = True,
        **recurrence,
    ):
        super().__init__()
        self.forward_recurrence = RecurrentLayer(
            input_size=input_size, hidden_size=hidden_size, **recurrence
        )
        self.backward_recurrence = AlignedRecurrence(
            input_size=input_size, memory_size=hidden_size, hidden_size=hidden_size, **recurrence
        )
        self.final_size = hidden_size
        self.branch = OutputBranch(hidden_size, input_size, output_size, dropout, layer_norm)

    def initial_state(self, x: Tensor) -> Tensor:
        """States of zeros, ``1 x B x state_size``, for the input ``S x B x C``."""
        return self.forward_recurrence.initial_state(x)

    def forward(
        self, x: Tensor, state: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """See :meth:`RNMTEncoderLayer.forward`; both recurrences start from *state*."""
        forward_output, _ = self.forward_recurrence(x, state, padding_mask)
        h, state = self.backward_recurrence(x, forward_output, state[0], padding_mask, True)
        return self.branch(h, x), state.unsqueeze(0)


class RNMTDecoderLayer(nn.Module):
    """What the decoder's layers share: the initial state and the branch.

    Args:
        recurrence: the layer's recurrence.
        input_size: width C of the input.
        final_size: width Z of the encoder's final state.
        output_size: width of the output.
        dropout: see :class:`OutputBranch`.
        layer_norm: of initial state and output; that of the recurrence is its own option.

    ``forward`` of each kind has

    Args:
        x: input, ``T x B x C``.
        context: contexts of the layer below, ``T x B x M`` (the first layer has no use for it).
        state: state before the first position, ``B x state_size``.
        memory: encoder output, ``S x B x M``.
        memory_padding_mask: ``B x S``, true at padding.
        keys: the attention's keys of the memory, if it has attention and they are there already.
        padding_mask: ``T x B``, true at padding, where the state is carried.

    Returns:
        output ``T x B x output_size``, contexts ``T x B x M`` (its own where it attends, those of
        the layer below otherwise), final state ``B x state_size``, and attention weights
        ``T x B x S x heads`` where it attends.
    """

    def __init__(
        self,
        recurrence: nn.Module,
        input_size: int,
        final_size: int,
        output_size: int,
        dropout: float = 0.0,
        layer_norm: bool = True,
    ):
        super().__init__()
        self.recurrence = recurrence
        self.init_proj = Affine(
            final_size, recurrence.state_size, norm="layer" if layer_norm else None
        )
        self.branch = OutputBranch(
            recurrence.hidden_size, input_size, output_size, dropout, layer_norm
        )

    def initial_state(self, final_state: Tensor) -> Tensor:
        """Initial state ``B x state_size`` from the encoder's final state ``B x Z``."""
        return self.init_proj(final_state)

    def keys(self, memory: Tensor) -> Optional[Tensor]:
        """The attention's keys ``B x S x M`` of the memory, where the layer attends."""
        return None


class AttentiveDecoderLayer(RNMTDecoderLayer):
    """Conditional recurrence with attention; see :class:`RNMTDecoderLayer`."""

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        hidden_size: int,
        final_size: int,
        output_size: int,
        attention_heads: int,
        dropout: float,
        layer_norm: bool,
        **options,
    ):
        recurrence = AttentiveRecurrence(
            input_size=input_size,
            memory_size=memory_size,
            hidden_size=hidden_size,
            num_heads=attention_heads,
            **options,
        )
        super().__init__(recurrence, input_size, final_size, output_size, dropout, layer_norm)

    def keys(self, memory: Tensor) -> Optional[Tensor]:
        return self.recurrence.attention.keys(memory)

    def forward(
        self,
        x: Tensor,
        context: Optional[Tensor],
        state: Tensor,
        memory: Tensor,
        memory_padding_mask: Optional[Tensor],
        keys: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Tensor, Optional[Tensor]]:
        h, state, contexts, weights = self.recurrence(
            x, memory, state, padding_mask, memory_padding_mask, keys
        )
        return self.branch(h, x), contexts, state, weights


class AlignedDecoderLayer(RNMTDecoderLayer):
    """One-to-one recurrence over input and contexts; see :class:`RNMTDecoderLayer`."""

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        hidden_size: int,
        final_size: int,
        output_size: int,
        dropout: float,
        layer_norm: bool,
        **options,
    ):
        recurrence = AlignedRecurrence(
            input_size=input_size, memory_size=memory_size, hidden_size=hidden_size, **options
        )
        super().__init__(recurrence, input_size, final_size, output_size, dropout, layer_norm)

    def forward(
        self,
        x: Tensor,
        context: Optional[Tensor],
        state: Tensor,
        memory: Tensor,
        memory_padding_mask: Optional[Tensor],
        keys: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Tensor, Optional[Tensor]]:
        assert context is not None
        h, state = self.recurrence(x, context, state, padding_mask)
        return self.branch(h, x), context, state, None


class PlainDecoderLayer(RNMTDecoderLayer):
    """Recurrence over [input ; context]; see :class:`RNMTDecoderLayer`."""

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        hidden_size: int,
        final_size: int,
        output_size: int,
        dropout: float,
        layer_norm: bool,
        **options,
    ):
        recurrence = RecurrentLayer(
            input_size=input_size + memory_size, hidden_size=hidden_size, **options
        )
        super().__init__(recurrence, input_size, final_size, output_size, dropout, layer_norm)

    def forward(
        self,
        x: Tensor,
        context: Optional[Tensor],
        state: Tensor,
        memory: Tensor,
        memory_padding_mask: Optional[Tensor],
        keys: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Tensor, Optional[Tensor]]:
        assert context is not None
        h, states = self.recurrence(
            torch.cat([x, context], dim=-1), state.unsqueeze(0), padding_mask
        )
        return self.branch(h, x), context, states[0], None
