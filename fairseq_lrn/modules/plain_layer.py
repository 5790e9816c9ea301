"""A recurrent layer without residual connection, output projection and norm."""

from typing import Optional, Tuple

from torch import Tensor, nn

from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.recurrence import RecurrentLayer


class PlainLayer(nn.Module):
    """Dropout of the input, then a recurrence in one direction, or with *bidirectional* in both.

    Args:
        input_size: width C of the input.
        hidden_size: width H of the output of a direction.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        dropout: dropout probability of the input.
        locked_dropout: drop the same elements at every time step.
        **options: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.

    Source: the language model of the authors' release (bzhangGo/lrn, ``lm``), which has the layers
    of Yang et al. (2018).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        cell: str,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        **options,
    ):
        super().__init__()
        self.dropout_module = Dropout(dropout, locked_dropout, self.__class__.__name__)
        self.recurrence = RecurrentLayer(cell, input_size, hidden_size, **options)

    def initial_state(self, x: Tensor) -> Tensor:
        """A state of zeros, ``D x B x state_size``, for the input ``T x B x C``."""
        return self.recurrence.initial_state(x)

    def forward(
        self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Run the layer over a sequence.

        Args:
            x: input, ``T x B x C``.
            h_0: initial state of each of D directions, ``D x B x state_size``.
            padding_mask: ``T x B``, true at padding, where the state is carried.

        Returns:
            output ``T x B x (D*H)`` and final states ``D x B x state_size``.
        """
        return self.recurrence(self.dropout_module(x), h_0, padding_mask)
