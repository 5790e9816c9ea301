"""LRN as a module with the interface of ``torch.nn.GRU``."""

import numbers
import warnings
from contextlib import nullcontext
from typing import Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.modules.stack import RecurrentStack
from fairseq_lrn.ops.precision import is_autocast


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
        device, dtype: of the parameters; None: torch's defaults.
        activation: ``"tanh"`` or ``"identity"``. With identity the state is unbounded; the
            authors combine it with *layer_norm*.
        layer_norm: normalise the projections (epsilon 1e-8, as in the authors' toolkit).
        output_gate: oLRN instead of LRN.

    The page "Python and the command line" of the documentation compares it with
    :class:`torch.nn.GRU` point by point, and says what ``quantize_dynamic`` needs.

    Raises:
        ValueError: a size is below 1, *dropout* is not a probability, or *activation* is unknown.
        TypeError: a size is not an integer, or *bias* or *batch_first* is not a boolean.

    Example::

        >>> lrn = LRN(10, 20, num_layers=2)
        >>> output, h_n = lrn(torch.randn(5, 3, 10))
        >>> output.shape, h_n.shape
        (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))

    Source: Zhang and Sennrich (2019), section 3.
    """

    # TorchScript would compile the property.
    __jit_unused_properties__ = ["dropout"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device=None,
        dtype: Optional[torch.dtype] = None,
        *,
        activation: str = "tanh",
        layer_norm: bool = False,
        output_gate: bool = False,
    ):
        super().__init__()
        _check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        _check_flags(bias=bias, batch_first=batch_first)
        _check_dropout(dropout, num_layers)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.bidirectional = bool(bidirectional)
        self.num_directions = 2 if bidirectional else 1
        with nullcontext() if device is None else torch.device(device):
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
        self.layers = RecurrentStack(layers, float(dropout)).to(dtype=dtype)

    @property
    def dropout(self) -> float:
        """Dropout probability of the output of every layer except the last one."""
        return self.layers.dropout

    @dropout.setter
    def dropout(self, probability: float) -> None:
        self.layers.dropout = float(probability)

    def reset_parameters(self) -> None:
        """Draw new initial weights."""
        for module in self.modules():
            if isinstance(module, Affine):
                module.reset_parameters()

    def flatten_parameters(self) -> None:
        """Do nothing. nn.GRU has this method for cuDNN, and code for nn.GRU calls it."""

    def extra_repr(self) -> str:
        options = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
        }
        changed = [f"{name}={value}" for name, (value, usual) in options.items() if value != usual]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])

    def forward(
        self,
        input: Tensor,
        hx: Optional[Tensor] = None,
        padding_mask: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """Run the layers over a batch of sequences, or over a single sequence.

        Args:
            input: ``T x B x C`` (``B x T x C`` with *batch_first*; ``T x C`` for a single
                sequence), or a ``PackedSequence`` (not in TorchScript).
            hx: initial states, ``num_layers*D x B x H`` (``num_layers*D x H`` for a single
                sequence); None: zeros.
            padding_mask: true at padding, where the state is carried. It has the shape of the
                input without its last dimension. Padding may be on any side.

        Returns:
            ``(output, h_n)``. The output is ``T x B x D*H`` in the form of *input* (batch first,
            single sequence or packed). The final states h_n have the shape of *hx*.

        Raises:
            ValueError: a shape does not fit, *hx* is on another device than *input*, or a
                ``PackedSequence`` comes with a mask.
            TypeError: *hx* is no tensor, *padding_mask* is not boolean, or without autocast *input*
                or *hx* has another type than the weights.
        """
        if not torch.jit.is_scripting():
            if isinstance(input, PackedSequence):
                return self._forward_packed(input, hx, padding_mask)
            batch_dim = (0 if self.batch_first else 1) if input.dim() == 3 else None
            self._check(input, batch_dim, hx, padding_mask)
        is_single = input.dim() == 2
        if is_single:
            # A batch of one sequence: T x C to T x 1 x C
            input = input.unsqueeze(1)
            hx = hx.unsqueeze(1) if hx is not None else None
            padding_mask = padding_mask.unsqueeze(1) if padding_mask is not None else None
        elif self.batch_first:
            input = input.transpose(0, 1)  # B x T x C to T x B x C
            padding_mask = padding_mask.t() if padding_mask is not None else None
        output, h_n = self._run(input, hx, padding_mask)
        if is_single:
            return output.squeeze(1), h_n.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output, h_n

    def _forward_packed(
        self, packed: PackedSequence, hx: Optional[Tensor], padding_mask: Optional[Tensor]
    ) -> Tuple[PackedSequence, Tensor]:
        if padding_mask is not None:
            raise ValueError("a PackedSequence has no padding: leave padding_mask out")
        # As in nn.GRU, the batch stays in the packed (sorted) order; only the states are permuted.
        # x: T x B x C, lengths: B
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        times = torch.arange(x.size(0), device=lengths.device)
        self._check(x, 1, hx, None)
        if hx is not None and packed.sorted_indices is not None:
            hx = hx.index_select(1, packed.sorted_indices)
        padding = (times.unsqueeze(1) >= lengths).to(x.device)  # T x B
        output, h_n = self._run(x, hx, padding)
        data = pack_padded_sequence(output, lengths).data
        if packed.unsorted_indices is not None:
            h_n = h_n.index_select(1, packed.unsorted_indices)
        return packed._replace(data=data), h_n

    def _check(
        self,
        input: Tensor,
        batch_dim: Optional[int],
        hx: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> None:
        """Raise the errors of :meth:`forward`. *batch_dim* is None for a single sequence."""
        if input.dim() not in (2, 3) or input.size(-1) != self.input_size:
            raise ValueError(
                "input must be T x B x C or T x C (B x T x C with batch_first) with "
                f"C={self.input_size}, but its shape is {tuple(input.shape)}"
            )
        batch = [] if batch_dim is None else [input.size(batch_dim)]
        state_shape = (self.num_layers * self.num_directions, *batch, self.hidden_size)
        if hx is not None and not isinstance(hx, Tensor):
            raise TypeError(f"hx must be one tensor, as with torch.nn.GRU, not {type(hx).__name__}")
        if hx is not None and hx.shape != state_shape:
            raise ValueError(
                f"hx must be (num_layers * directions) x {'B x ' if batch else ''}H = "
                f"{state_shape}, but its shape is {tuple(hx.shape)}"
            )
        if hx is not None and hx.device != input.device:
            raise ValueError(f"hx is on {hx.device}, but input is on {input.device}")
        # The first parameter; there are none if all are quantised.
        for weight in self.parameters():
            self._check_types(weight.dtype, input, hx)
            break
        if padding_mask is None:
            return
        if padding_mask.dtype != torch.bool:
            raise TypeError(
                f"padding_mask must be boolean (true at padding), not {padding_mask.dtype}; "
                "convert it with .bool()"
            )
        if padding_mask.shape != input.shape[:-1]:
            raise ValueError(
                f"padding_mask must have the shape of the input without its last dimension, "
                f"{tuple(input.shape[:-1])}, but its shape is {tuple(padding_mask.shape)}"
            )

    def _check_types(self, expected: torch.dtype, input: Tensor, hx: Optional[Tensor]) -> None:
        for name, tensor in (("input", input), ("hx", hx)):
            if tensor is None or tensor.dtype == expected or is_autocast(tensor.device.type):
                continue
            raise TypeError(
                f"{name} is {tensor.dtype}, but the weights are {expected}; "
                f"convert it with .to({expected})"
            )

    def _run(
        self, x: Tensor, hx: Optional[Tensor], padding_mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """The layers on x ``T x B x C`` and ``padding_mask`` ``T x B``; see :meth:`forward`."""
        if padding_mask is not None:
            # The values at padding (NaN included) must not reach the gradients of the weights.
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        if hx is not None and hx.size(0) != self.num_layers * self.num_directions:
            # For TorchScript, where :meth:`_check` cannot run.
            raise ValueError("hx must have num_layers * directions states")
        # D x B x H for each layer
        states = list(hx.split(self.num_directions)) if hx is not None else None
        output, final_states, _ = self.layers(x, states, padding_mask)
        return output, torch.cat(final_states)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} must be an integer, not {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


def _check_flags(**flags: bool) -> None:
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, not {flag!r}")


def _check_dropout(dropout: float, num_layers: int) -> None:
    is_number = isinstance(dropout, numbers.Real) and not isinstance(dropout, bool)
    if not is_number or not 0.0 <= dropout <= 1.0:
        raise ValueError(f"dropout must lie between 0 and 1, not {dropout}")
    if dropout > 0.0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} has no effect with num_layers=1: it applies between layers",
            stacklevel=3,
        )
