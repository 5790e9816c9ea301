"""The recurrent cells of the paper's comparison, behind one interface.

A cell says what it computes from its input (its projection), from that and its state (its
step), and how its state begins. How a sequence is run through it, padding included, is the same
for all; LRN, oLRN and LSTM replace the loop by a fused kernel that computes the same.

Source: Zhang and Sennrich (2019), and the authors' toolkit (bzhangGo/zero, ``rnns/``), whose
GRU applies the reset gate before the recurrent product (``torch.nn.GRU``: after it, so it cannot
stand in), and whose LSTM and SRU have the state ``[h | c]``.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.ops.lrn_scan import ACTIVATIONS, scan_directions
from fairseq_lrn.ops.lrn_scan.unfolded import Unfolded, unfold
from fairseq_lrn.ops.precision import matmul_dtype

CELLS = ("lrn", "olrn", "atr", "sru", "gru", "lstm")
# The others keep their own nonlinearities.
CELLS_WITH_ACTIVATION = ("lrn", "olrn", "atr")


class Cell(nn.Module):
    """A recurrent cell; a subclass has a projection and a step.

    Attributes:
        hidden_size: width H of the output h.
        state_size: width of the state, whose first H elements are h.
    """

    def __init__(self, hidden_size: int, state_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.state_size = state_size

    def initial_state(self, x: Tensor) -> Tensor:
        """A state of zeros ``B x state_size`` for the input ``T x B x C``."""
        return x.new_zeros(x.size(1), self.state_size)

    def project(self, x: Tensor) -> Tensor:
        """All that depends on the input alone, ``... x C`` to ``... x P``."""
        return self.projection(x)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        """The state after a step: ``B x P`` and ``B x state_size`` to ``B x state_size``."""
        raise NotImplementedError

    def masked_step(self, projected: Tensor, state: Tensor, padding: Optional[Tensor]) -> Tensor:
        """A step that keeps the state where *padding* (``B``) is true."""
        new_state = self.step(projected, state)
        if padding is None:
            return new_state
        return torch.where(padding.unsqueeze(-1), state, new_state)

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        """Run a sequence through the cell, as :meth:`loop` does, or faster."""
        return self.loop(x, state, padding_mask, reverse)

    def loop(
        self,
        x: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        """Run a sequence through the cell, step by step.

        Args:
            x: input, ``T x B x C``.
            state: initial state, ``B x state_size``.
            padding_mask: ``T x B``, true at padding, where the state is carried.
            reverse: run from the last time step to the first.

        Returns:
            output ``T x B x H`` and final state ``B x state_size``.
        """
        projected = self.project(x).unbind(0)
        padding: List[Tensor] = []
        if padding_mask is not None:
            padding.extend(padding_mask.unbind(0))
        outputs: List[Tensor] = []
        for step in range(len(projected)):
            t = len(projected) - 1 - step if reverse else step
            state = self.masked_step(projected[t], state, padding[t] if padding else None)
            outputs.append(state[:, : self.hidden_size])
        if len(outputs) == 0:
            return x.new_zeros(0, x.size(1), self.hidden_size), state
        if reverse:
            outputs.reverse()
        return torch.stack(outputs), state


class LRNCell(Cell):
    """LRN, and oLRN with an output gate; runs in the fused scan."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        activation: str = "tanh",
        norm: Optional[str] = None,
        output_gate: bool = False,
    ):
        super().__init__(hidden_size, hidden_size)
        self.activation = activation
        gates = 4 if output_gate else 3
        self.projection = input_map(input_size, [gates * hidden_size], bias, norm)

    def project(self, x: Tensor) -> Tensor:
        """k, q, v (and o) without their bias, which the scan adds on its way."""
        return self.projection.product(x)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        return self.masked_step(projected, state, None)

    def masked_step(self, projected: Tensor, state: Tensor, padding: Optional[Tensor]) -> Tensor:
        mask: Optional[Tensor] = None
        if padding is not None:
            mask = padding.unsqueeze(0)
        return self.scan(projected.unsqueeze(0), state, mask, False)[0]

    def scan(
        self, projected: Tensor, state: Tensor, padding_mask: Optional[Tensor], reverse: bool
    ) -> Tensor:
        """States ``T x B x H`` of the sequence of projections ``T x B x P``."""
        return scan_directions(
            [projected], state.unsqueeze(0), padding_mask, self.biases(), self.activation, reverse
        )

    def biases(self) -> List[Tensor]:
        """The bias as a list, empty where there is none."""
        bias: List[Tensor] = []
        if self.projection.bias is not None:
            bias.append(self.projection.bias)
        return bias

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        h = self.scan(self.project(x), state, padding_mask, reverse)
        if h.size(0) == 0:
            return h, state
        return h, h[0] if reverse else h[-1]

    @torch.jit.unused
    def unfold(self, x: Tensor, state: Tensor, reverse: bool = False) -> Unfolded:
        """What the states of :meth:`forward`, without padding, are made of."""
        biases = self.biases()
        return unfold(
            self.project(x), state, biases[0] if biases else None, self.activation, reverse
        )


class ATRCell(Cell):
    """ATR (Zhang et al., 2018): twin gates of the sum and the difference of input and state."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        activation: str = "tanh",
        norm: Optional[str] = None,
    ):
        super().__init__(hidden_size, hidden_size)
        self.tanh = activation == "tanh"
        self.projection = input_map(input_size, [hidden_size], bias, norm)
        self.recurrent = Affine(hidden_size, hidden_size, norm=norm)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        recurrent = self.recurrent(state)
        input_gate = torch.sigmoid(projected + recurrent)
        forget_gate = torch.sigmoid(projected - recurrent)
        h = input_gate * projected + forget_gate * state
        return torch.tanh(h) if self.tanh else h


class GRUCell(Cell):
    """GRU (Cho et al., 2014) with the reset gate before the recurrent product."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, norm: Optional[str] = None
    ):
        super().__init__(hidden_size, hidden_size)
        self.projection = input_map(input_size, [2 * hidden_size, hidden_size], bias, norm)
        self.recurrent_gates = Affine(hidden_size, 2 * hidden_size, norm=norm)
        self.recurrent_candidate = Affine(hidden_size, hidden_size, norm=norm)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        width = self.hidden_size
        gates, candidate = projected.split([2 * width, width], dim=-1)
        gates = torch.sigmoid(gates + self.recurrent_gates(state))
        update, reset = gates.chunk(2, dim=-1)
        candidate = torch.tanh(candidate + self.recurrent_candidate(reset * state))
        return update * state + (1 - update) * candidate  # the update gate keeps the old state


def _torch_lstm_fails(x: Tensor) -> bool:
    """oneDNN's LSTM refuses bfloat16 on processors without it, which torch does not look at."""
    bfloat16 = matmul_dtype(x) == torch.bfloat16
    return bfloat16 and x.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


class LSTMCell(Cell):
    """LSTM (Hochreiter and Schmidhuber, 1997); torch's fused layer where nothing is normalised.

    The rows of its matrices are in the order of the gates i, f, o and the candidate, so that
    the gates can be normalised jointly. The state is ``[h | c]``.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, norm: Optional[str] = None
    ):
        super().__init__(hidden_size, 2 * hidden_size)
        widths = [3 * hidden_size, hidden_size]
        self.normalised = norm is not None
        self.projection = input_map(input_size, widths, bias, norm)
        self.recurrent = Affine(hidden_size, widths, norm=norm)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        width = self.hidden_size
        h, c = state.chunk(2, dim=-1)
        gates, candidate = (projected + self.recurrent(h)).split([3 * width, width], dim=-1)
        input_gate, forget_gate, output_gate = torch.sigmoid(gates).chunk(3, dim=-1)
        c = input_gate * torch.tanh(candidate) + forget_gate * c
        return torch.cat([output_gate * torch.tanh(c), c], dim=-1)

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        if self.normalised or x.size(0) == 0:
            return self.loop(x, state, padding_mask, reverse)
        if not torch.jit.is_scripting():
            if _torch_lstm_fails(x):
                return self.loop(x, state, padding_mask, reverse)
        if reverse:
            x = x.flip(0)
            padding_mask = None if padding_mask is None else padding_mask.flip(0)
        h, c = state.unsqueeze(0).chunk(2, dim=-1)
        if padding_mask is None or not bool(padding_mask.any()):
            output, h, c = torch.lstm(
                x, [h.contiguous(), c.contiguous()], self._torch_weights(), True, 1, 0.0,
                self.training, False, False,
            )  # fmt: skip
        else:
            output, h, c = self._forward_padded(x, h, c, padding_mask)
        state = torch.cat([h, c], dim=-1)[0]
        return output.flip(0) if reverse else output, state

    def _forward_padded(
        self, x: Tensor, h: Tensor, c: Tensor, padding_mask: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Without the padding, wherever it is, as a packed sequence; then with it again."""
        lengths = (~padding_mask).sum(0)
        # Real steps first, in their order; a sentence of padding alone keeps one step for torch.
        order = padding_mask.to(torch.uint8).argsort(dim=0, stable=True)
        x = x.gather(0, order.unsqueeze(-1).expand_as(x))
        sorted_lengths, permutation = lengths.clamp(min=1).sort(descending=True)
        data, batch_sizes = torch._pack_padded_sequence(
            x.index_select(1, permutation), sorted_lengths.cpu(), False
        )
        states = [s.index_select(1, permutation) for s in (h, c)]
        packed, h_n, c_n = torch.lstm(
            data, batch_sizes, states, self._torch_weights(), True, 1, 0.0, self.training, False
        )
        output, _ = torch._pad_packed_sequence(packed, batch_sizes, False, 0.0, x.size(0))
        inverse = permutation.argsort()
        # Output 0 is the initial one; at each step that of the last real step up to there.
        output = torch.cat([h, output.index_select(1, inverse)])
        seen = (~padding_mask).cumsum(0)
        output = output.gather(0, seen.unsqueeze(-1).expand(-1, -1, h.size(-1)))
        empty = (lengths == 0).unsqueeze(-1)
        h = torch.where(empty, h, h_n.index_select(1, inverse))
        c = torch.where(empty, c, c_n.index_select(1, inverse))
        return output, h, c

    def _torch_weights(self) -> List[Tensor]:
        """Weights and biases with the blocks in torch's order: i, f, candidate, o."""
        bias = self.projection.bias
        if bias is None:
            bias = torch.zeros_like(self.recurrent.weight[:, 0])
        weights: List[Tensor] = []
        for parameter in (self.projection.weight, self.recurrent.weight, bias, self.recurrent.bias):
            assert parameter is not None
            i, f, o, candidate = parameter.chunk(4)
            weights.append(torch.cat([i, f, candidate, o]))
        return weights


class SRUCell(Cell):
    """SRU (Lei et al., 2018) with a projected highway input and no biases in its vectors.

    The state is ``[h | c]``; h is never read back.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, norm: Optional[str] = None
    ):
        super().__init__(hidden_size, 2 * hidden_size)
        self.projection = input_map(input_size, [4 * hidden_size], bias, norm)
        self.forget_vector = nn.Parameter(torch.ones(hidden_size))
        self.reset_vector = nn.Parameter(torch.ones(hidden_size))

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        x_reset, x_forget, x_cell, x_highway = projected.chunk(4, dim=-1)
        c = state[:, self.hidden_size :]
        forget_gate = torch.sigmoid(x_forget + self.forget_vector * c)
        reset_gate = torch.sigmoid(x_reset + self.reset_vector * c)
        new_c = forget_gate * c + (1 - forget_gate) * x_cell
        h = reset_gate * new_c + (1 - reset_gate) * x_highway
        return torch.cat([h, new_c], dim=-1)


def input_map(input_size: int, widths: List[int], bias: bool, norm: Optional[str]) -> Affine:
    """The projection of a cell's input. Layer norm's shift takes the place of the bias."""
    has_shift = norm == "layer"
    return Affine(input_size, widths, bias and not has_shift, norm, shift=bias)


def build_cell(
    name: str,
    input_size: int,
    hidden_size: int,
    bias: bool = True,
    activation: str = "tanh",
    norm: Optional[str] = None,
) -> Cell:
    """Make a cell.

    Args:
        name: one of :data:`CELLS`.
        input_size: width C of the input.
        hidden_size: width H of the output.
        bias: add a bias to the projection of the input. With layer norm it is the norm's shift.
        activation: output activation g of lrn, olrn and atr, ``"tanh"`` or ``"identity"``. The
            others keep their own nonlinearities.
        norm: ``"layer"`` or ``"rms"``: normalise the projections of input and state, all gates
            of a projection jointly, as the authors do.

    Raises:
        ValueError: an argument is unknown.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, not {activation!r}")
    for size, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if value < 1:
            raise ValueError(f"{size} must be at least 1, not {value}")
    if name in ("lrn", "olrn"):
        return LRNCell(input_size, hidden_size, bias, activation, norm, output_gate=name == "olrn")
    if name == "atr":
        return ATRCell(input_size, hidden_size, bias, activation, norm)
    others = {"sru": SRUCell, "gru": GRUCell, "lstm": LSTMCell}
    if name not in others:
        raise ValueError(f"cell must be one of {CELLS}, not {name!r}")
    return others[name](input_size, hidden_size, bias, norm)
