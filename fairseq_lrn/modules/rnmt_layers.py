"""Encoder and decoder layers of the paper's translation model (architecture ``lrn_rnmt``).

Source: the authors' toolkit (bzhangGo/zero, ``models/deepnmt.py``).
"""

from typing import Dict, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import (
    NORM_EPS,
    Affine,
    affine_parameters,
    is_standard_norm,
    map_parameters,
    norm_parameters,
)
from fairseq_lrn.modules.attention import AdditiveAttention
from fairseq_lrn.modules.cells import LRNCell
from fairseq_lrn.modules.conditional import AlignedRecurrence, AttentiveRecurrence
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.recurrence import RecurrentLayer


class OutputBranch(nn.Module):
    """The end of every layer: an output projection, a residual connection and layer norm.

    If input and output of the layer have different widths, there is no residual connection, and
    therefore no dropout, which applies to the branch before it joins the residual connection.

    Args:
        branch_size: width H of the output of the recurrence.
        input_size: width C of the input of the layer.
        output_size: width D of the output of the layer.
        dropout: dropout probability of the branch.
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
        """The output of the layer, ``T x B x D``.

        Args:
            branch: output of the recurrence, ``T x B x H``.
            x: input of the layer, ``T x B x C``.
        """
        branch = self.out_proj(branch)
        if self.residual:
            branch = x + self.dropout_module(branch)
        return self.layer_norm(branch)


class RNMTEncoderLayer(nn.Module):
    """A recurrence, forward or in both directions, and an :class:`OutputBranch`.

    Args:
        input_size: width C of the input.
        hidden_size: width H of the recurrence in each direction.
        output_size: width D of the output.
        bidirectional: run the recurrence in both directions and concatenate the outputs.
        dropout: see :class:`OutputBranch`.
        layer_norm: normalise the output. The recurrence has its own option *norm*.
        **recurrence: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.

    Attributes:
        final_size: width of the final output of the recurrence, all directions concatenated.
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
        """States of zeros, one per direction, for the input ``S x B x C``."""
        return self.recurrence.initial_state(x)

    def forward(
        self, x: Tensor, state: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Run the layer over a sequence.

        Args:
            x: input, ``S x B x C``.
            state: initial states, one per direction (1 or 2), ``directions x B x state_size``.
            padding_mask: ``S x B``, true at padding, where the states are carried.

        Returns:
            output ``S x B x D`` and final states ``directions x B x state_size``.
        """
        h, state = self.recurrence(x, state, padding_mask)
        return self.branch(h, x), state


class ContextAwareEncoderLayer(nn.Module):
    """A forward recurrence whose output is the memory of a backward conditional recurrence.

    Args:
        input_size, hidden_size, output_size, dropout, layer_norm, **recurrence: see
            :class:`RNMTEncoderLayer`.

    Attributes:
        final_size: width of the final output of the backward recurrence.
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
        """A state of zeros, ``1 x B x state_size``, for the input ``S x B x C``."""
        return self.forward_recurrence.initial_state(x)

    def forward(
        self, x: Tensor, state: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Run the layer over a sequence.

        Args:
            x: input, ``S x B x C``.
            state: initial state of both recurrences, ``1 x B x state_size``.
            padding_mask: ``S x B``, true at padding, where the states are carried.

        Returns:
            output ``S x B x D`` and final state of the backward recurrence, ``1 x B x state_size``.
        """
        forward_output, _ = self.forward_recurrence(x, state, padding_mask)
        h, state = self.backward_recurrence(x, forward_output, state[0], padding_mask, True)
        return self.branch(h, x), state.unsqueeze(0)


class RNMTDecoderLayer(nn.Module):
    """The parts that all decoder layers share: the initial state and the :class:`OutputBranch`.

    Args:
        recurrence: the recurrence of the layer.
        input_size: width C of the input.
        final_size: width Z of the encoder's final state.
        output_size: width D of the output.
        dropout: see :class:`OutputBranch`.
        layer_norm: normalise initial state and output. The recurrence has its own option *norm*.

    Attributes:
        attends: whether the layer attends to the source.

    Every subclass has the same ``forward``:

    Args:
        x: input, ``T x B x C``.
        context: contexts of the layer below, ``T x B x M``. An attentive layer ignores them.
        state: state before the first position, ``B x state_size``.
        memory: encoder output, ``S x B x M``.
        memory_padding_mask: ``B x S``, true at padding.
        keys: result of :meth:`keys` for *memory*, ``B x S x M``, if already computed. Layers
            without attention ignore it.
        padding_mask: ``T x B``, true at padding, where the state is carried.

    Returns:
        output ``T x B x D``, contexts ``T x B x M`` (those of the layer itself if it attends,
        otherwise *context*), final state ``B x state_size``, and attention weights
        ``T x B x S x heads`` (None if the layer does not attend).

    For a single position of W hypotheses per sentence, B is W*B everywhere except in *memory*,
    *memory_padding_mask* and *keys*: see :class:`~fairseq_lrn.modules.AttentiveRecurrence`.
    """

    attends = False

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
        """Keys ``B x S x M`` of the memory ``S x B x M``; None if the layer does not attend."""
        return None

    @torch.jit.unused
    def search_parameters(self) -> Optional[Dict[str, Optional[Tensor]]]:
        """The parameters of the layer by their names in :class:`~fairseq_lrn.ops.RNMTBeamSearch`.

        Returns:
            the parameters, or None if the fused search cannot compute this layer: a part is of
            another class or has hooks, a norm has another epsilon or lacks parameters, or dropout
            stays active in generation.
        """
        parts = list(self.modules())
        if any(type(part) not in SEARCHABLE_PARTS for part in parts) or not is_plain(*parts):
            return None
        if self.branch.dropout_module.is_active():
            return None
        for part in parts:
            needs_shift = part is self.branch.layer_norm
            if isinstance(part, nn.LayerNorm) and not is_standard_norm(
                part, needs_shift=needs_shift
            ):
                return None
        return {
            **self._cell_parameters(),
            **affine_parameters("out", self.branch.out_proj),
            **norm_parameters("norm", self.branch.layer_norm),
        }

    @torch.jit.unused
    def _cell_parameters(self) -> Dict[str, Optional[Tensor]]:
        """The parameters of :meth:`search_parameters` that belong to the recurrence."""
        return {
            **map_parameters("lower", self.recurrence.lower.projection),
            **map_parameters("upper", self.recurrence.upper.projection),
        }


class AttentiveDecoderLayer(RNMTDecoderLayer):
    """A decoder layer around an :class:`~fairseq_lrn.modules.AttentiveRecurrence`.

    Args:
        input_size: width C of the input.
        memory_size: width M of the encoder output.
        hidden_size: width H of the recurrence.
        final_size: width Z of the encoder's final state.
        output_size: width D of the output.
        attention_heads: number of attention heads; must divide *memory_size*.
        dropout, layer_norm: see :class:`RNMTDecoderLayer`.
        **options: passed to :class:`~fairseq_lrn.modules.AttentiveRecurrence`.
    """

    attends = True

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
        """Keys ``B x S x M`` of the memory ``S x B x M``."""
        return self.recurrence.attention.keys(memory)

    @torch.jit.unused
    def _cell_parameters(self) -> Dict[str, Optional[Tensor]]:
        attention = self.recurrence.attention
        return {
            **super()._cell_parameters(),
            **map_parameters("query", attention.query_proj),
            "score_vector": attention.score_proj.weight[0],
        }

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
        """See :class:`RNMTDecoderLayer`."""
        h, state, contexts, weights = self.recurrence(
            x, memory, state, padding_mask, memory_padding_mask, keys
        )
        return self.branch(h, x), contexts, state, weights


class AlignedDecoderLayer(RNMTDecoderLayer):
    """A decoder layer around an :class:`~fairseq_lrn.modules.AlignedRecurrence` over the contexts.

    Args:
        input_size, memory_size, hidden_size, final_size, output_size, dropout, layer_norm: see
            :class:`AttentiveDecoderLayer`.
        **options: passed to :class:`~fairseq_lrn.modules.AlignedRecurrence`.
    """

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
        """See :class:`RNMTDecoderLayer`."""
        assert context is not None
        h, state = self.recurrence(x, context, state, padding_mask)
        return self.branch(h, x), context, state, None


class PlainDecoderLayer(RNMTDecoderLayer):
    """A decoder layer around a :class:`~fairseq_lrn.modules.RecurrentLayer` over [input ; context].

    Args:
        input_size, memory_size, hidden_size, final_size, output_size, dropout, layer_norm: see
            :class:`AttentiveDecoderLayer`.
        **options: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.
    """

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

    @torch.jit.unused
    def _cell_parameters(self) -> Dict[str, Optional[Tensor]]:
        return map_parameters("lower", self.recurrence.cells[0].projection)

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
        """See :class:`RNMTDecoderLayer`."""
        assert context is not None
        input_and_context = torch.cat([x, context], dim=-1)  # T x B x C+M
        h, states = self.recurrence(input_and_context, state.unsqueeze(0), padding_mask)
        return self.branch(h, x), context, states[0], None


# The fused search computes exactly these classes; a subclass may compute something else.
SEARCHABLE_PARTS = (
    AttentiveDecoderLayer,
    AlignedDecoderLayer,
    PlainDecoderLayer,
    AttentiveRecurrence,
    AlignedRecurrence,
    RecurrentLayer,
    LRNCell,
    Affine,
    AdditiveAttention,
    OutputBranch,
    Linear,
    Dropout,
    nn.LayerNorm,
    nn.Identity,
    nn.ModuleList,
)
