"""LRN as a module with the interface of ``torch.nn.GRU``."""

from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.modules.stack import RecurrentStack


class LRN(nn.Module):
    """Lightweight Recurrent Network with the interface of :class:`torch.nn.GRU`.

    Args:
        input_size: width C of the input.
        hidden_size: width H of the state.
        num_layers: number of stacked layers.
        bias: add a bias to the projections. With *layer_norm*, it is the shift of the norm.
        batch_first: in input, output and padding mask, the batch dimension comes before the time.
        dropout: dropout probability of the output of every layer except the last one.
        bidirectional: run in both directions (D = 2, otherwise D = 1) and concatenate the outputs.
        activation: ``"tanh"`` or ``"identity"``. With identity the state is unbounded; the
            authors combine it with *layer_norm*.
        layer_norm: normalise the projections (epsilon 1e-8, as in the authors' toolkit).
        output_gate: oLRN instead of LRN.

    Raises:
        ValueError: a size is below 1, *dropout* is not a probability, or *activation* is unknown.

    Example::

        >>> lrn = LRN(10, 20, num_layers=2)
        >>> output, h_n = lrn(torch.randn(5, 3, 10))
        >>> output.shape, h_n.shape
        (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))

    Source: Zhang and Sennrich (2019), section 3.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        activation: str = "tanh",
        layer_norm: bool = False,
        output_gate: bool = False,
    ):
        super().__init__()
        for name, size in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout must lie between 0 and 1, not {dropout}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.num_directions = 2 if bidirectional else 1
        layers = [
            RecurrentLayer(
                "olrn" if output_gate else "lrn",
                input_size if index == 0 else self.num_directions * hidden_size,
                hidden_size,
                bidirectional=bidirectional,
                bias=bias,
                activation=activation,
                norm="layer" if layer_norm else None,
            )
            for index in range(num_layers)
        ]
        self.layers = RecurrentStack(layers, dropout)

    def forward(
        self,
        input: Union[Tensor, PackedSequence],
        h_0: Optional[Tensor] = None,
        padding_mask: Optional[Tensor] = None,
    ) -> Tuple[Union[Tensor, PackedSequence], Tensor]:
        """Run the layers over a batch of sequences, or over a single sequence.

        Args:
            input: ``T x B x C`` (``B x T x C`` with *batch_first*; ``T x C`` for a single
                sequence), or a ``PackedSequence``.
            h_0: initial states, ``num_layers*D x B x H`` (``num_layers*D x H`` for a single
                sequence); None: zeros.
            padding_mask: true at padding, where the state is carried. It has the shape of the
                input without its last dimension. Padding may be on any side.

        Returns:
            ``(output, h_n)``. The output is ``T x B x D*H`` in the form of *input* (batch first,
            single sequence or packed). The final states h_n have the shape of *h_0*.

        Raises:
            ValueError: a shape does not fit, or a ``PackedSequence`` comes with a mask.
        """
        if isinstance(input, PackedSequence):
            if padding_mask is not None:
                raise ValueError("a PackedSequence has no padding: leave padding_mask out")
            return self._forward_packed(input, h_0)
        if input.dim() not in (2, 3) or input.size(-1) != self.input_size:
            raise ValueError(
                "input must be T x B x C or T x C (B x T x C with batch_first) with "
                f"C={self.input_size}, but its shape is {tuple(input.shape)}"
            )
        if padding_mask is not None and padding_mask.shape != input.shape[:-1]:
            raise ValueError(
                f"padding_mask must have the shape of the input without its last dimension, "
                f"{tuple(input.shape[:-1])}, but its shape is {tuple(padding_mask.shape)}"
            )
        batch_dim = 1 if input.dim() == 2 or not self.batch_first else 0
        if input.dim() == 2:
            # A batch of one sequence: T x C to T x 1 x C
            output, h_n = self._run(
                input.unsqueeze(1),
                h_0.unsqueeze(1) if h_0 is not None else None,
                padding_mask.unsqueeze(1) if padding_mask is not None else None,
            )
            return output.squeeze(1), h_n.squeeze(1)
        if batch_dim == 0:
            input = input.transpose(0, 1)  # B x T x C to T x B x C
            padding_mask = padding_mask.t() if padding_mask is not None else None
        output, h_n = self._run(input, h_0, padding_mask)
        return output.transpose(0, 1) if batch_dim == 0 else output, h_n

    def _forward_packed(
        self, packed: PackedSequence, h_0: Optional[Tensor]
    ) -> Tuple[PackedSequence, Tensor]:
        # As in nn.GRU, the batch stays in the packed (sorted) order; only the states are permuted.
        # x: T x B x C, lengths: B
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        if h_0 is not None and packed.sorted_indices is not None:
            h_0 = h_0.index_select(1, packed.sorted_indices)
        padding_mask = torch.arange(x.size(0)).unsqueeze(1) >= lengths  # T x B
        output, h_n = self._run(x, h_0, padding_mask.to(x.device))
        data = pack_padded_sequence(output, lengths).data
        if packed.unsorted_indices is not None:
            h_n = h_n.index_select(1, packed.unsorted_indices)
        return (
            PackedSequence(
                data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
            ),
            h_n,
        )

    def _run(
        self, x: Tensor, h_0: Optional[Tensor], padding_mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """The layers on x ``T x B x C`` and ``padding_mask`` ``T x B``; see :meth:`forward`."""
        state_shape = (self.num_layers * self.num_directions, x.size(1), self.hidden_size)
        if h_0 is None:
            h_0 = x.new_zeros(state_shape)
        elif h_0.shape != state_shape:
            raise ValueError(
                f"h_0 must be (num_layers * directions) x B x H = {state_shape}, "
                f"but its shape is {tuple(h_0.shape)}"
            )
        if padding_mask is not None:
            # The values at padding (NaN included) must not reach the gradients of the weights.
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        states = list(h_0.split(self.num_directions))  # D x B x H for each layer
        output, final_states, _ = self.layers(x, states, padding_mask)
        return output, torch.cat(final_states)
