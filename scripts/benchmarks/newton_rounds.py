"""Count the rounds of Newton's method in the recurrence: ``scripts/benchmark.py newton``.

The backend ``parallel`` (``fairseq_lrn/ops/lrn_scan/parallel.py``) computes the recurrence in
rounds. How many it needs depends on the inputs, so they are counted on random projections and on
those that a trained model computes. The figures do not depend on the machine.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.rows import markdown_table
from fairseq_lrn.errors import InputError
from fairseq_lrn.ops.lrn_scan import parallel
from fairseq_lrn.ops.lrn_scan.reference import by_direction, split_gates

LENGTHS = (256, 1024, 4096)
SPREADS = (0.5, 1.0, 2.0, 4.0)
HIDDEN = 64
# Name of a column, steps of a chunk, and where the first guess comes from.
METHODS = {
    "steps, zero": (1, "zero"),
    "steps, linear": (1, "linear"),
    "steps, layer below": (1, "below"),
    "64, zero": (64, "zero"),
    "64, linear": (64, "linear"),
    "64, warm-up": (64, "warm-up"),
    "256, warm-up": (256, "warm-up"),
}
# More than in use, to see where Newton's method would end.
MAX_ROUNDS = 30


class Rounds(NamedTuple):
    """Rounds for one scan.

    Attributes:
        inputs: where the projections come from.
        activation: output activation g.
        time: number of steps.
        spread: standard deviation of the projections.
        rounds: for each of :data:`METHODS` the mean and the largest number of rounds of all lanes,
            and the share of lanes that are not exact after :data:`MAX_ROUNDS`.
    """

    inputs: str
    activation: str
    time: int
    spread: float
    rounds: Dict[str, Tuple[float, int, float]]


def measure_random(lengths: Sequence[int] = LENGTHS) -> List[Rounds]:
    """Rounds for normally distributed projections of one sentence, in float32."""
    found = []
    for activation in ("tanh", "identity"):
        for time in lengths:
            for spread in SPREADS:
                kqv = spread * torch.randn(time, 1, 3 * HIDDEN)
                arguments = kqv, torch.zeros(1, HIDDEN), None, None, activation, False
                found.append(_count("random", arguments))
    return found


def measure_model(name: str, checkpoint: str, data: str, lengths: Sequence[int]) -> List[Rounds]:
    """Rounds for each recurrence of a trained model that reads the validation text.

    The sentences of the text follow each other, as one text of the wanted length.

    Args:
        name: name of the model in the table.
        checkpoint: a translation model, whose encoder is read, or a language model.
        data: directory of binarised data.
        lengths: numbers of tokens.

    Raises:
        InputError: the checkpoint or the data cannot be used.
    """
    if not os.path.exists(checkpoint):
        raise InputError(f"{checkpoint} does not exist")
    models, _, task = checkpoint_utils.load_model_ensemble_and_task(
        [checkpoint], arg_overrides={"data": data}
    )
    model, dictionary = models[0].eval(), task.source_dictionary
    languages = [getattr(task.cfg, side, None) for side in ("source_lang", "target_lang")]
    split = "valid" if None in languages else f"valid.{'-'.join(languages)}.{languages[0]}"
    dataset = data_utils.load_indexed_dataset(os.path.join(data, split), dictionary)
    if dataset is None:
        raise InputError(f"{data} has no {split}: give the directory of the model's data")
    found = []
    for time in lengths:
        tokens = _text(dataset, time)
        # With gradients, models run their recurrences one by one, and not all layers at once.
        with torch.enable_grad(), _Recorder() as recorder:
            if hasattr(model, "encoder"):
                model.encoder(tokens, torch.tensor([time]))
            else:
                model.decoder(tokens)
        below: Dict[bool, Tensor] = {}  # the states of the last layer in each direction
        for number, scan in enumerate(recorder.scans, 1):
            found.append(_count(f"{name}, {number}", scan, below.get(scan[-1])))
            below[scan[-1]] = parallel.solve(*scan).states
    return found


def _text(dataset: Any, time: int) -> Tensor:
    """The first *time* tokens of the sentences one after the other, ``1 x T``."""
    sentences, size = [], 0
    for index in range(len(dataset)):
        sentences.append(dataset[index].long())
        size += len(sentences[-1])
        if size >= time:
            return torch.cat(sentences)[:time].unsqueeze(0)
    raise InputError(f"the validation text has {size} tokens: give lengths up to that, not {time}")


class _Recorder(TorchDispatchMode):
    """Notes the arguments of every scan, one direction at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.scans: List[Tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.fairseq_lrn.lrn_scan.default:
            kqv, h0, padding, bias, activation, reverse = args
            for projections, initial, shift, is_reversed in zip(
                kqv, *by_direction(h0, bias, reverse)
            ):
                shift = None if shift is None else shift.detach()
                scan = projections.detach(), initial, padding, shift, activation, is_reversed
                self.scans.append(scan)
        return func(*args, **(kwargs or {}))


def _count(inputs: str, arguments: Tuple, below: Optional[Tensor] = None) -> Rounds:
    kqv, h0, _, bias, activation, _ = arguments
    rounds = {}
    for method, (chunk, source) in METHODS.items():
        options = {"warm_up": parallel.WARM_UP if source == "warm-up" else 0}
        if source == "linear":
            options["guess"] = _linearised(*arguments)
        elif source == "below":
            if below is None or below.shape != kqv[:, :, : h0.size(-1)].shape:
                continue
            options["guess"] = below
        found = parallel.solve(*arguments, chunk=chunk, max_rounds=MAX_ROUNDS, **options).rounds
        exact = found[found > 0]
        mean = exact.double().mean().item() if len(exact) else float("nan")
        rounds[method] = (mean, int(found.max()), (found == 0).double().mean().item())
    spread = (kqv if bias is None else kqv + bias).std().item()
    return Rounds(inputs, activation, len(kqv), spread, rounds)


def _linearised(
    kqv: Tensor,
    h0: Tensor,
    padding: Optional[Tensor],
    bias: Optional[Tensor],
    activation: str,
    reverse: bool,
) -> Tensor:
    """The states of the recurrence whose gates do not read the state, ``T x B x H``."""
    k, q, v, _ = split_gates(kqv.flip(0) if reverse else kqv, bias, h0.size(-1))
    shifts = torch.sigmoid(k) * v
    shifts[0] += torch.sigmoid(q[0]) * h0
    states = parallel.linear_scan(torch.sigmoid(q), shifts)
    states = states.tanh() if activation == "tanh" else states
    return states.flip(0) if reverse else states


def format_table(found: Sequence[Rounds]) -> str:
    """A Markdown table: mean and largest number of rounds, and the lanes without convergence."""
    rows = []
    for inputs, activation, time, spread, rounds in found:
        cells = [_cell(*rounds[method]) if method in rounds else "" for method in METHODS]
        rows.append((inputs, activation, time, f"{spread:.2f}", *cells))
    columns = ("inputs", "g", "T", "spread", *METHODS)
    return markdown_table(columns, rows, text=("inputs", "g", *METHODS))


def _cell(mean: float, largest: int, left: float) -> str:
    text = f"{mean:.1f} ({largest})" if left < 1.0 else "none"
    return f"{text}, {100 * left:.0f}% left" if 0.0 < left < 1.0 else text


class Device(NamedTuple):
    """What the time of a scan on a GPU depends on, for :func:`cost_table`.

    Attributes:
        bandwidth: bytes per second of its memory.
        step: seconds of one step of the recurrence, whose operations wait for each other.
        launch: seconds between the starts of two kernels.
    """

    bandwidth: float
    step: float
    launch: float


# Float32. The loop reads k, q and v and writes h; its gradient reads these four and the gradient of
# h, and writes three gradients. A round is like the forward loop. In parallel, the gradient reads
# its five tensors twice.
ITEM_BYTES = 4
LOOP_TENSORS, ROUND_TENSORS, GRADIENT_TENSORS = 12, 4, 13
ROUNDS = 2
LAUNCHES = 2 + 2 * parallel.MAX_ROUNDS + 4


def loop_seconds(device: Device, time: int, lanes: int) -> float:
    """Estimated time of the loop, forward and backward, over T steps of B*H lanes."""
    moved = LOOP_TENSORS * ITEM_BYTES * time * lanes / device.bandwidth
    return max(moved, 2 * time * device.step) + 2 * device.launch


def parallel_seconds(device: Device, time: int, lanes: int, rounds: int = ROUNDS) -> float:
    """The same for the backend ``parallel``, whose kernels start in any case."""
    length = parallel.gpu_chunk_length(time, lanes)
    guess = 3 * parallel.WARM_UP / length
    tensors = ROUND_TENSORS * rounds + guess + GRADIENT_TENSORS
    moved = tensors * ITEM_BYTES * time * lanes / device.bandwidth
    steps = parallel.WARM_UP + (rounds + 2) * length + (rounds + 1) * time / length
    return max(moved, steps * device.step) + LAUNCHES * device.launch


def cost_table(device: Device, time: int, lanes: Sequence[int]) -> str:
    """A Markdown table of estimated times, and of the length from which on parallel is faster."""
    rows = []
    for number in lanes:
        loop, newton = (f(device, time, number) for f in (loop_seconds, parallel_seconds))
        figures = f"{1e3 * loop:.2f}", f"{1e3 * newton:.2f}", f"{loop / newton:.1f}"
        rows.append((f"{number:,}", *figures, _break_even(device, number)))
    columns = ("lanes", "loop, ms", "parallel, ms", "loop / parallel", "faster from T")
    return markdown_table(columns, rows, text=())


def _break_even(device: Device, lanes: int) -> str:
    for time in (2**power for power in range(6, 21)):
        if parallel_seconds(device, time, lanes) < loop_seconds(device, time, lanes):
            return f"{time:,}"
    return "never"
