"""A recurrent layer: one cell over a sequence, in one direction or in both directions."""

from contextlib import contextmanager
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine, is_plain_affine
from fairseq_lrn.modules.cells import build_cell, continuing_states
from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.modules.linear import dropped_weights
from fairseq_lrn.ops.lrn_scan import scan_directions


class RecurrentLayer(nn.Module):
    """One layer of recurrent cells, in one direction or in both directions.

    Args:
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        input_size: width C of the input.
        hidden_size: width H of the output of each direction.
        bidirectional: run a second cell backward and concatenate the outputs.
        weight_dropout: probability of dropping an element of the weights of the input projections
            in training (DropConnect); one mask for all time steps.
        recurrent_weight_dropout: the same for the weights that multiply the state; the cells
            ``lrn``, ``olrn`` and ``sru`` have none.
        **options: passed to :func:`~fairseq_lrn.modules.cells.build_cell`.
    """

    is_one_scan: torch.jit.Final[bool]

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        bidirectional: bool = False,
        weight_dropout: float = 0.0,
        recurrent_weight_dropout: float = 0.0,
        **options,
    ):
        super().__init__()
        self.weight_dropout = weight_dropout
        self.recurrent_weight_dropout = recurrent_weight_dropout
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_directions = 2 if bidirectional else 1
        self.cells = nn.ModuleList(
            build_cell(cell, input_size, hidden_size, **options) for _ in range(self.num_directions)
        )
        self.state_size = self.cells[0].state_size
        self.is_one_scan = bidirectional and self.cells[0].runs_in_scan

    def initial_state(self, x: Tensor) -> Tensor:
        """States of zeros, ``D x B x state_size``, for the input ``T x B x C``."""
        states: List[Tensor] = []
        for cell in self.cells:
            states.append(cell.initial_state(x))
        return torch.stack(states)

    def forward(
        self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Run the layer over a sequence.

        Args:
            x: input, ``T x B x C``.
            h_0: initial states of the D directions, ``D x B x state_size``.
            padding_mask: ``T x B``, true at padding, where the states are carried.

        Returns:
            output ``T x B x D*H`` and final states ``D x B x state_size``.

        Raises:
            RuntimeError: in TorchScript, weights would have to be dropped.
        """
        if self.training and (self.weight_dropout > 0 or self.recurrent_weight_dropout > 0):
            if torch.jit.is_scripting():
                raise RuntimeError("TorchScript cannot drop weights in training: call eval()")
            else:
                with self._dropped_weights():
                    return self._run(x, h_0, padding_mask)
        return self._run(x, h_0, padding_mask)

    @torch.jit.unused
    @contextmanager
    def _dropped_weights(self) -> Iterator[None]:
        """A context in which elements of the cells' weights are dropped."""
        projections = [cell.projection for cell in self.cells]
        recurrent = [
            module
            for module in self.cells.modules()
            if isinstance(module, Affine) and module not in projections
        ]
        with dropped_weights(projections, self.weight_dropout):
            with dropped_weights(recurrent, self.recurrent_weight_dropout):
                yield

    def _run(self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """See :meth:`forward`."""
        if self.is_one_scan:
            if not torch.jit.is_scripting():
                projections = [cell.projection for cell in self.cells]
                if not (is_plain(*self.cells) and is_plain_affine(*projections)):
                    return self._call_cells(x, h_0, padding_mask)
            return self._scan_both_directions(x, h_0, padding_mask)
        return self._call_cells(x, h_0, padding_mask)

    def _call_cells(
        self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """Run one direction after the other."""
        outputs: List[Tensor] = []
        states: List[Tensor] = []
        for direction, cell in enumerate(self.cells):
            output, state = cell(x, h_0[direction], padding_mask, direction == 1)
            outputs.append(output)
            states.append(state)
        if self.num_directions == 1:
            return outputs[0], states[0].unsqueeze(0)
        return torch.cat(outputs, dim=-1), torch.stack(states)

    def _scan_both_directions(
        self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """Run both directions in one call of the scan, which shares them among the threads."""
        kqv: List[Tensor] = []
        bias: List[Tensor] = []
        for cell in self.cells:
            kqv.append(cell.project(x))
            bias.extend(cell.biases())
        activation = self.cells[0].activation
        h, states = scan_directions(kqv, h_0, padding_mask, bias, activation, False)
        if h.size(0) == 0:
            return h, h_0
        states = continuing_states(h, states, h_0)
        # B x 2H to B x H each. The backward direction ends at the first step.
        forward, backward = states[-1].chunk(2, dim=-1)[0], states[0].chunk(2, dim=-1)[1]
        return h, torch.stack([forward, backward])
