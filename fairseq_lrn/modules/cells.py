"""The recurrent cells of the paper's comparison, behind one interface.

A cell defines its projection (what it computes from the input alone), its step (what it computes
from the projection and the state) and its initial state. All cells share the loop over a sequence,
padding included. LRN, oLRN and LSTM replace this loop by a fused kernel with the same result.

To add a cell, write a subclass of :class:`Cell` and add a row to :data:`CELL_TYPES`.

Source: Zhang and Sennrich (2019), and the authors' toolkit (bzhangGo/zero, ``rnns/``). The
toolkit's GRU applies the reset gate before the recurrent matrix product. ``torch.nn.GRU`` applies
it after the product, so it cannot replace the toolkit's GRU.
"""

from functools import partial
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine, is_plain_affine
from fairseq_lrn.ops.lrn_scan import ACTIVATIONS, scan_directions
from fairseq_lrn.ops.lrn_scan.unfolded import Unfolded, unfold
from fairseq_lrn.ops.precision import is_autocast, is_half, matmul_dtype
from fairseq_lrn.ops.products import has_onednn, onednn_supports
from fairseq_lrn.ops.transforms import is_transforming


class Cell(nn.Module):
    """A recurrent cell. A subclass defines ``projection`` and :meth:`step`.

    Args:
        hidden_size: width H of the output h.
        state_size: width of the state, whose first H elements are h.

    Attributes:
        runs_in_scan: whether the recurrence of the cell is the operator
            :func:`~fairseq_lrn.ops.lrn_scan`. If it is, the cell has ``activation`` and
            ``biases()`` like :class:`LRNCell`, and several cells can share one call.
    """

    runs_in_scan = False

    def __init__(self, hidden_size: int, state_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.state_size = state_size

    def initial_state(self, x: Tensor) -> Tensor:
        """A state of zeros, ``B x state_size``, for the input ``T x B x C``."""
        return x.new_zeros(x.size(1), self.state_size)

    def project(self, x: Tensor) -> Tensor:
        """Compute everything that depends on the input alone, ``... x P`` from ``... x C``."""
        return self.projection(x)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        """Compute the next state.

        Args:
            projected: the projection at this time step, ``B x P``.
            state: ``B x state_size``.

        Returns:
            the next state, ``B x state_size``.
        """
        raise NotImplementedError

    def masked_step(self, projected: Tensor, state: Tensor, padding: Optional[Tensor]) -> Tensor:
        """:meth:`step`, except that the state is carried where *padding* (``B``) is true."""
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
        """Run the cell over a sequence: :meth:`loop`, or a faster kernel with the same result."""
        return self.loop(x, state, padding_mask, reverse)

    def loop(
        self,
        x: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        """Run the cell over a sequence, step by step.

        Args:
            x: input, ``T x B x C``.
            state: initial state, ``B x state_size``.
            padding_mask: ``T x B``, true at padding, where the state is carried.
            reverse: run from the last time step to the first.

        Returns:
            output ``T x B x H`` and final state ``B x state_size``.
        """
        projected = self.project(x).unbind(0)  # B x P each
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
    """LRN, or oLRN with *output_gate*. Its recurrence is the fused scan.

    Args:
        input_size, hidden_size, bias, activation, norm: see :func:`build_cell`.
        output_gate: oLRN instead of LRN.

    Source: Zhang and Sennrich (2019), section 3; for oLRN the authors' toolkit (bzhangGo/zero,
    ``rnns/olrn.py``).
    """

    runs_in_scan = True

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
        chunks = 4 if output_gate else 3  # k, q, v, and o for the output gate
        self.projection = input_projection(input_size, [chunks * hidden_size], bias, norm)

    def initial_state(self, x: Tensor) -> Tensor:
        """See :class:`Cell`. Under autocast, the state is float32 whatever *x* is."""
        state = x.new_zeros(x.size(1), self.state_size)
        if not torch.jit.is_scripting():
            if is_half(x) and is_autocast(x.device.type):
                return state.float()
        return state

    def project(self, x: Tensor) -> Tensor:
        """k, q, v (and o), ``... x 3H`` or ``... x 4H``, without the bias in :meth:`biases`."""
        if not torch.jit.is_scripting():
            if not is_plain_affine(self.projection):
                return self.projection(x)
        return self.projection.normalised_product(x)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        return self.masked_step(projected, state, None)

    def masked_step(self, projected: Tensor, state: Tensor, padding: Optional[Tensor]) -> Tensor:
        mask: Optional[Tensor] = None
        if padding is not None:
            mask = padding.unsqueeze(0)
        # A sequence of one step: B x P to 1 x B x P
        h, states = self.scan(projected.unsqueeze(0), state, mask, False)
        return continuing_states(h, states, state)[0]

    def scan(
        self, projected: Tensor, state: Tensor, padding_mask: Optional[Tensor], reverse: bool
    ) -> Tuple[Tensor, Tensor]:
        """All states, ``T x B x H``, and the same before they were rounded to half precision.

        Args:
            projected: ``T x B x P``, from :meth:`project`.
            state: initial state, ``B x H``.
            padding_mask: ``T x B``, true at padding.
            reverse: run from the last time step to the first.
        """
        return scan_directions(
            [projected], state.unsqueeze(0), padding_mask, self.biases(), self.activation, reverse
        )

    def biases(self) -> List[Tensor]:
        """The bias that the scan adds, in a list; the list is empty if there is none.

        If somebody hooked into the projection, it is called as a module and adds its bias itself.
        """
        bias: List[Tensor] = []
        if not torch.jit.is_scripting():
            if not is_plain_affine(self.projection):
                return bias
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
        """See :meth:`Cell.loop`."""
        h, states = self.scan(self.project(x), state, padding_mask, reverse)
        if h.size(0) == 0:
            return h, state
        return h, continuing_states(h, states, state)[0 if reverse else -1]

    @torch.jit.unused
    def unfold(
        self,
        x: Tensor,
        state: Tensor,
        reverse: bool = False,
        units: Optional[Tuple[int, int]] = None,
    ) -> Unfolded:
        """The states of :meth:`forward`, without padding, as weighted sums over earlier steps.

        Args:
            x: input, ``T x B x C``.
            state: initial state, ``B x H``.
            reverse: run from the last time step to the first.
            units: the first hidden unit, and the one after the last; None: all. Each is a
                recurrence of its own, and the result has T times the memory of their states.
        """
        part = slice(*(units or (0, self.hidden_size)))
        # T x B x gates*H to T x B x gates x H to T x B x gates*units
        kqv = self.project(x).unflatten(-1, (-1, self.hidden_size))[..., part].flatten(-2)
        biases = [bias.view(-1, self.hidden_size)[:, part].flatten() for bias in self.biases()]
        bias = biases[0] if biases else None
        return unfold(kqv, state[:, part], bias, self.activation, reverse)


def continuing_states(h: Tensor, states: Tensor, initial: Tensor) -> Tensor:
    """The states from which a later call continues: unrounded, if the initial state was.

    Under autocast, the projections and with them *h* are in half precision, but a state is carried
    through many steps, so it stays in float32.

    Args:
        h, states: the results of :func:`~fairseq_lrn.ops.lrn_scan.scan_directions`, ``T x B x H``.
        initial: the initial state, ``... x H``.

    Returns:
        one of *h* and *states*, ``T x B x H``.
    """
    return h if h.dtype == initial.dtype else states


class ATRCell(Cell):
    """ATR: twin gates, from the sum and from the difference of input and recurrent projection.

    Args:
        input_size, hidden_size, bias, activation, norm: see :func:`build_cell`.

    Source: Zhang et al. (2018).
    """

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
        self.projection = input_projection(input_size, [hidden_size], bias, norm)
        self.recurrent = Affine(hidden_size, hidden_size, norm=norm)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        recurrent = self.recurrent(state)
        input_gate = torch.sigmoid(projected + recurrent)
        forget_gate = torch.sigmoid(projected - recurrent)
        h = input_gate * projected + forget_gate * state
        return torch.tanh(h) if self.tanh else h


class GRUCell(Cell):
    """GRU with the reset gate before the recurrent matrix product.

    Args:
        input_size, hidden_size, bias, norm: see :func:`build_cell`.

    Source: Cho et al. (2014).
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, norm: Optional[str] = None
    ):
        super().__init__(hidden_size, hidden_size)
        self.projection = input_projection(input_size, [2 * hidden_size, hidden_size], bias, norm)
        self.recurrent_gates = Affine(hidden_size, 2 * hidden_size, norm=norm)
        self.recurrent_candidate = Affine(hidden_size, hidden_size, norm=norm)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        width = self.hidden_size
        gates, candidate = projected.split([2 * width, width], dim=-1)  # B x 2H, B x H
        gates = torch.sigmoid(gates + self.recurrent_gates(state))
        update, reset = gates.chunk(2, dim=-1)  # B x H each
        candidate = torch.tanh(candidate + self.recurrent_candidate(reset * state))
        return update * state + (1 - update) * candidate  # an open update gate keeps the old state


class LSTMCell(Cell):
    """LSTM; without normalisation it runs in torch's fused layer.

    The rows of its matrices are in the order i, f, o (the gates) and candidate, so that the gates
    can be normalised jointly. The state is ``[h | c]``, as in the authors' toolkit.

    Args:
        input_size, hidden_size, bias, norm: see :func:`build_cell`.

    Source: Hochreiter and Schmidhuber (1997).
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, norm: Optional[str] = None
    ):
        super().__init__(hidden_size, 2 * hidden_size)
        widths = [3 * hidden_size, hidden_size]
        self.normalised = norm is not None
        self.projection = input_projection(input_size, widths, bias, norm)
        self.recurrent = Affine(hidden_size, widths, norm=norm)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        width = self.hidden_size
        h, c = state.chunk(2, dim=-1)  # B x H each
        # B x 3H and B x H, of B x 4H
        gates, candidate = (projected + self.recurrent(h)).split([3 * width, width], dim=-1)
        input_gate, forget_gate, output_gate = torch.sigmoid(gates).chunk(3, dim=-1)  # B x H each
        c = input_gate * torch.tanh(candidate) + forget_gate * c
        return torch.cat([output_gate * torch.tanh(c), c], dim=-1)

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        padding_mask: Optional[Tensor] = None,
        reverse: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        """See :meth:`Cell.loop`."""
        if self.normalised or x.size(0) == 0:
            return self.loop(x, state, padding_mask, reverse)
        if not torch.jit.is_scripting():
            if _torch_lstm_fails(x) or not is_plain_affine(self.projection, self.recurrent):
                return self.loop(x, state, padding_mask, reverse)
        if reverse:
            x = x.flip(0)
            padding_mask = None if padding_mask is None else padding_mask.flip(0)
        h, c = state.unsqueeze(0).chunk(2, dim=-1)  # 1 x B x H each
        if padding_mask is None or not bool(padding_mask.any()):
            output, h, c = torch.lstm(
                x, [h.contiguous(), c.contiguous()], self._torch_weights(), True, 1, 0.0,
                self._is_trained(), False, False,
            )  # fmt: skip
        else:
            output, h, c = self._forward_padded(x, h, c, padding_mask)
        state = torch.cat([h, c], dim=-1)[0]  # 1 x B x 2H to B x 2H
        return output.flip(0) if reverse else output, state

    def _is_trained(self) -> bool:
        """Whether there may be a backward pass; on a GPU, torch's LSTM has to know."""
        return self.training or torch.is_grad_enabled()

    def _forward_padded(
        self, x: Tensor, h: Tensor, c: Tensor, padding_mask: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Run torch's layer over the tokens as a packed sequence, then restore the padding.

        Args:
            x: input, ``T x B x C``.
            h, c: initial states, ``1 x B x H``.
            padding_mask: ``T x B``, true at padding, which may be anywhere.

        Returns:
            output ``T x B x H`` and final states h and c, ``1 x B x H``.
        """
        lengths = (~padding_mask).sum(0)  # B
        # The tokens of each sentence first, in their order, then its padding.
        order = padding_mask.to(torch.uint8).argsort(dim=0, stable=True)  # T x B
        x = x.gather(0, order.unsqueeze(-1).expand_as(x))
        # torch requires at least one step per sentence, so a sentence without tokens keeps one
        # position of padding.
        sorted_lengths, permutation = lengths.clamp(min=1).sort(descending=True)
        data, batch_sizes = torch._pack_padded_sequence(
            x.index_select(1, permutation), sorted_lengths.cpu(), False
        )
        states = [s.index_select(1, permutation) for s in (h, c)]
        packed, h_n, c_n = torch.lstm(
            data,
            batch_sizes,
            states,
            self._torch_weights(),
            True,
            1,
            0.0,
            self._is_trained(),
            False,
        )
        output, _ = torch._pad_packed_sequence(packed, batch_sizes, False, 0.0, x.size(0))
        inverse = permutation.argsort()
        # T+1 x B x H: entry n is the output after n tokens, entry 0 the initial state.
        output = torch.cat([h, output.index_select(1, inverse)])
        tokens_so_far = (~padding_mask).cumsum(0)  # T x B
        output = output.gather(0, tokens_so_far.unsqueeze(-1).expand(-1, -1, h.size(-1)))
        is_empty = (lengths == 0).unsqueeze(-1)  # B x 1
        h = torch.where(is_empty, h, h_n.index_select(1, inverse))
        c = torch.where(is_empty, c, c_n.index_select(1, inverse))
        return output, h, c

    def _torch_weights(self) -> List[Tensor]:
        """The arguments of torch's LSTM, with the rows in its order i, f, candidate, o.

        Returns:
            weights ``4H x C`` and ``4H x H``, then biases ``4H`` and ``4H``.
        """
        bias = self.projection.bias
        if bias is None:
            bias = torch.zeros_like(self.recurrent.weight[:, 0])
        weights: List[Tensor] = []
        for parameter in (
            self.projection.current_weight(),
            self.recurrent.current_weight(),
            bias,
            self.recurrent.bias,
        ):
            assert parameter is not None
            i, f, o, candidate = parameter.chunk(4)  # H x ... each
            weights.append(torch.cat([i, f, candidate, o]))
        return weights


def _torch_lstm_fails(x: Tensor) -> bool:
    """Whether torch's LSTM raises an error for *x*.

    It has no rules for ``torch.func``. On a processor without bfloat16, oneDNN's LSTM rejects
    bfloat16, and without float16 it rejects autocast to float16. torch checks neither.
    """
    if is_transforming():
        return True
    dtype = matmul_dtype(x)
    if x.device.type != "cpu" or not has_onednn():
        return False
    is_rejected = dtype == torch.bfloat16 or (dtype == torch.float16 and x.dtype != dtype)
    return is_rejected and not onednn_supports(dtype)


class SRUCell(Cell):
    """SRU with a projection of the highway input and without biases of its gate vectors.

    The state is ``[h | c]``, as in the authors' toolkit. The step does not read h.

    Args:
        input_size, hidden_size, bias, norm: see :func:`build_cell`.

    Source: Lei et al. (2018).
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, norm: Optional[str] = None
    ):
        super().__init__(hidden_size, 2 * hidden_size)
        self.projection = input_projection(input_size, [4 * hidden_size], bias, norm)
        self.forget_vector = nn.Parameter(torch.ones(hidden_size))
        self.reset_vector = nn.Parameter(torch.ones(hidden_size))

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        x_reset, x_forget, x_cell, x_highway = projected.chunk(4, dim=-1)  # B x H each
        c = state[:, self.hidden_size :]
        forget_gate = torch.sigmoid(x_forget + self.forget_vector * c)
        reset_gate = torch.sigmoid(x_reset + self.reset_vector * c)
        new_c = forget_gate * c + (1 - forget_gate) * x_cell
        h = reset_gate * new_c + (1 - reset_gate) * x_highway
        return torch.cat([h, new_c], dim=-1)


def input_projection(input_size: int, widths: List[int], bias: bool, norm: Optional[str]) -> Affine:
    """The projection of a cell's input. With layer norm, the shift of the norm is the bias."""
    has_shift = norm == "layer"
    return Affine(input_size, widths, bias and not has_shift, norm, shift=bias)


class CellType(NamedTuple):
    """A row of :data:`CELL_TYPES`.

    Attributes:
        build: makes the cell from ``input_size``, ``hidden_size``, ``bias`` and ``norm``, and from
            ``activation`` if *takes_activation* is true.
        takes_activation: whether the output activation of the cell can be chosen. All other cells
            keep their own nonlinearities.
        multiplies_state: whether a step multiplies the state by a weight.
    """

    build: Callable[..., Cell]
    takes_activation: bool = False
    multiplies_state: bool = False


# The table of cells, by their names in options.
CELL_TYPES: Dict[str, CellType] = {
    "lrn": CellType(LRNCell, takes_activation=True),
    "olrn": CellType(partial(LRNCell, output_gate=True), takes_activation=True),
    "atr": CellType(ATRCell, takes_activation=True, multiplies_state=True),
    "sru": CellType(SRUCell),
    "gru": CellType(GRUCell, multiplies_state=True),
    "lstm": CellType(LSTMCell, multiplies_state=True),
}
CELLS = tuple(CELL_TYPES)
CELLS_WITH_ACTIVATION = tuple(name for name in CELLS if CELL_TYPES[name].takes_activation)
CELLS_WITH_STATE_WEIGHTS = tuple(name for name in CELLS if CELL_TYPES[name].multiplies_state)


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
        bias: add a bias to the projection of the input. With layer norm, it is the norm's shift.
        activation: output activation g, ``"tanh"`` or ``"identity"``, of the cells in
            :data:`CELLS_WITH_ACTIVATION`. The other cells keep their own nonlinearities.
        norm: ``"layer"`` or ``"rms"``: normalise the projections of input and state. As in the
            authors' toolkit, all gates of a projection are normalised jointly.

    Raises:
        ValueError: *name*, *activation* or *norm* is unknown, or a size is below 1.
    """
    if name not in CELL_TYPES:
        raise ValueError(f"cell must be one of {CELLS}, not {name!r}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, not {activation!r}")
    for argument, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, not {value}")
    cell_type = CELL_TYPES[name]
    options = {"activation": activation} if cell_type.takes_activation else {}
    return cell_type.build(input_size, hidden_size, bias=bias, norm=norm, **options)
