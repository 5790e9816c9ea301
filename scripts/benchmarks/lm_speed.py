"""Time language models: ``scripts/benchmark.py lm``.

The models have about the same number of parameters, and read the same number of random tokens of
the same vocabulary, whose frequencies follow Zipf's law. Each is trained with the loss and the
optimiser that its users have: fairseq's for fairseq's models, and this project's for the others.
"""

import contextlib
import os
import statistics
import tempfile
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from benchmarks.operator_speed import take_turns
from benchmarks.rows import markdown_table
from benchmarks.training_step import Trainee, build_trainee
from fairseq_lrn.errors import InputError

OURS = [
    *("--task", "stateful_language_modeling", "--arch", "lrn_lm", "--batch-size", "11"),
    *("--decoder-embed-dim", "400", "--decoder-layers", "3", "--locked-dropout"),
    *("--share-decoder-input-output-embed", "--criterion", "language_model_cross_entropy"),
    *("--optimizer", "torch_adam", "--dropout", "0.3"),
]
FAIRSEQ = [
    *("--task", "language_modeling", "--decoder-embed-dim", "400", "--dropout", "0.3"),
    *("--share-decoder-input-output-embed", "--criterion", "cross_entropy", "--optimizer", "adam"),
    *("--decoder-layers", "2", "--batch-size", "3"),
]
LRN = [*OURS, "--decoder-hidden-size", "400"]
LSTM = [*OURS, "--cell", "lstm", "--decoder-hidden-size", "236"]
TRANSFORMER = [
    *(*FAIRSEQ, "--arch", "transformer_lm", "--decoder-ffn-embed-dim", "400"),
    *("--decoder-attention-heads", "8", "--tokens-per-sample", "256"),
    *("--decoder-input-dim", "400", "--decoder-output-dim", "400"),
]
# As in scripts/ptb.sh, with a cutoff behind the most frequent fifth of the words. fairseq's LSTM is
# left out: its adaptive softmax cannot share the embeddings, so it would have more parameters.
ADAPTIVE = ["--adaptive-softmax-cutoff", "{cutoff}", "--adaptive-softmax-factor", "1"]
ADAPTIVE_TRANSFORMER = [
    *(*ADAPTIVE, "--adaptive-input", "--adaptive-input-cutoff", "{cutoff}"),
    *("--adaptive-input-factor", "1", "--tie-adaptive-weights", "--tie-adaptive-proj"),
    *("--decoder-ffn-embed-dim", "200"),  # because adaptive input adds projections
    *("--criterion", "adaptive_loss"),
    *("--ddp-backend", "legacy_ddp"),  # the loss requires it
]
# Options of each model, and columns and tokens of a batch.
MODELS: Dict[str, Tuple[List[str], Tuple[int, int]]] = {
    "lrn": (LRN, (11, 70)),
    "lrn, bfloat16": ([*LRN, "--autocast", "bfloat16"], (11, 70)),
    "the same with torch's LSTM": (LSTM, (11, 70)),
    "lstm_lm": (
        [
            *(*FAIRSEQ, "--arch", "lstm_lm", "--decoder-out-embed-dim", "400"),
            *("--decoder-hidden-size", "330"),
        ],
        (11, 70),
    ),
    "transformer_lm": (TRANSFORMER, (3, 256)),
    "lrn, adaptive softmax": ([*LRN, *ADAPTIVE], (11, 70)),
    "torch's LSTM, adaptive softmax": ([*LSTM, *ADAPTIVE], (11, 70)),
    "transformer_lm, adaptive softmax": ([*TRANSFORMER, *ADAPTIVE_TRANSFORMER], (3, 256)),
}
GENERATING = ("lrn", "transformer_lm")
VOCABULARY = 10_000
POSITIONS = (16, 256, 4096, 16_384)
COUNTED = 20  # tokens that are timed at each position
CLIP_NORM = 0.25


class Speed(NamedTuple):
    """The speed of a model.

    Attributes:
        model: a name in :data:`MODELS`.
        parameters: number of parameters.
        training, evaluation: tokens per second.
    """

    model: str
    parameters: int
    training: float
    evaluation: float


class TokenTime(NamedTuple):
    """The time of generating a token.

    Attributes:
        model: a name in :data:`GENERATING`.
        position: number of tokens before it.
        milliseconds: median time.
    """

    model: str
    position: int
    milliseconds: float


class Setup(NamedTuple):
    """A model, and a batch of random tokens."""

    trainee: Trainee
    sample: dict


@contextlib.contextmanager
def dictionary_directory(size: int) -> Iterator[str]:
    """A directory with a dictionary of *size* words."""
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "dict.txt"), "w", encoding="utf-8") as file:
            file.writelines(f"word{number} 1\n" for number in range(size))
        yield directory


def build(name: str, data: str, vocabulary: int) -> Setup:
    """Build a model and a batch of random tokens.

    Args:
        name: a name in :data:`MODELS`.
        data: directory with a dictionary.
        vocabulary: number of words in it.
    """
    arguments, (columns, tokens) = MODELS[name]
    arguments = [argument.format(cutoff=vocabulary // 5 + 1) for argument in arguments]
    trainee, _, _ = build_trainee([data, *arguments, "--lr", "0", "--clip-norm", str(CLIP_NORM)])
    frequencies = 1.0 / torch.arange(1, vocabulary + 1)
    text = 4 + torch.multinomial(frequencies, columns * (tokens + 1), replacement=True)
    text = text.view(columns, tokens + 1)
    sample = {
        "net_input": {"src_tokens": text[:, :-1], "src_lengths": torch.full((columns,), tokens)},
        "target": text[:, 1:].contiguous(),
        "ntokens": columns * tokens,
        "nsentences": columns,
    }
    return Setup(trainee, sample)


def measure(
    rounds: int = 5,
    names: Optional[Sequence[str]] = None,
    vocabulary: int = VOCABULARY,
    bfloat16: bool = True,
) -> List[Speed]:
    """Time training steps and evaluation, in turns.

    Args:
        rounds: turns of each model.
        names: models to measure; None: all.
        vocabulary: number of words.
        bfloat16: whether this processor has bfloat16.

    Raises:
        InputError: no model is left.
    """
    chosen = [name for name in names or MODELS if bfloat16 or "bfloat16" not in name]
    if not chosen:
        raise InputError("this processor has no bfloat16: give other --models")
    with dictionary_directory(vocabulary) as data:
        setups = {name: build(name, data, vocabulary) for name in chosen}
    results = []
    times = {}
    for kind, make in (("train", _training_step), ("evaluate", _evaluation)):
        candidates = {name: make(setup) for name, setup in setups.items()}
        times[kind] = take_turns(candidates, rounds, torch.device("cpu"))
    for name, setup in setups.items():
        tokens = setup.sample["ntokens"]
        training, evaluation = (1e3 * tokens / times[kind][name] for kind in ("train", "evaluate"))
        count = sum(parameter.numel() for parameter in setup.trainee.model.parameters())
        results.append(Speed(name, count, training, evaluation))
    return results


def _training_step(setup: Setup) -> Callable[[], None]:
    return lambda: setup.trainee.step(setup.sample)


def _evaluation(setup: Setup) -> Callable[[], None]:
    @torch.no_grad()
    def evaluate() -> None:
        setup.trainee.criterion(setup.trainee.model.eval(), setup.sample)

    return evaluate


def measure_generation(
    positions: Sequence[int] = POSITIONS,
    names: Optional[Sequence[str]] = None,
    vocabulary: int = VOCABULARY,
) -> List[TokenTime]:
    """Time generated tokens behind texts of different lengths.

    Args:
        positions: lengths of the texts, ascending.
        names: models, of which those in :data:`GENERATING` are measured; None: all.
        vocabulary: number of words.
    """
    chosen = [name for name in GENERATING if name in (names or GENERATING)]
    tokens = torch.randint(4, vocabulary + 4, (1, max(positions) + COUNTED))
    times: Dict[str, List[float]] = {name: [] for name in chosen}
    with dictionary_directory(vocabulary) as data:
        models = [build(name, data, vocabulary).trainee.model.eval() for name in chosen]
    for model in models:
        model.make_generation_fast_()
    # The models take turns, token by token.
    for row in zip(*(_token_times(model, tokens) for model in models)):
        for name, seconds in zip(chosen, row):
            times[name].append(seconds)
    return [
        TokenTime(name, position, 1e3 * statistics.median(times[name][position:][:COUNTED]))
        for name in chosen
        for position in positions
    ]


@torch.no_grad()
def _token_times(model: torch.nn.Module, tokens: Tensor) -> Iterator[float]:
    """The seconds that the model takes for each token, with its log-probabilities."""
    incremental_state: dict = {}
    for length in range(1, tokens.size(1) + 1):
        start = time.perf_counter()
        output = model.decoder(tokens[:, :length], incremental_state=incremental_state)
        model.get_normalized_probs(output, log_probs=True)
        yield time.perf_counter() - start


def format_table(speeds: Sequence[Speed], times: Sequence[TokenTime]) -> str:
    """Two Markdown tables: tokens per second, and the time of a generated token."""
    first = speeds[0]
    columns = ["model", "parameters, millions", "training, tokens/s", "first row / this row"]
    columns += ["evaluation, tokens/s", "first row / this row"]
    rows = []
    for name, parameters, training, evaluation in speeds:
        cells = [name, f"{parameters / 1e6:.2f}"]
        cells += [f"{training:.0f}", f"{first.training / training:.2f}"]
        rows.append([*cells, f"{evaluation:.0f}", f"{first.evaluation / evaluation:.2f}"])
    table = markdown_table(columns, rows)
    positions = sorted({one.position for one in times})
    if not positions:
        return table
    columns = ["ms per generated token, after", *map(str, positions)]
    names = dict.fromkeys(one.model for one in times)
    rows = [
        [name, *(f"{one.milliseconds:.2f}" for one in times if one.model == name)] for name in names
    ]
    return f"{table}\n\n{markdown_table(columns, rows)}"


def plot(figures: Sequence[NamedTuple], path: str) -> None:
    """Draw the time of a generated token against the length of the text before it.

    Args:
        figures: of which the :class:`TokenTime` are drawn.
        path: the file.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: matplotlib does not know the format of the file's suffix.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    times = [one for one in figures if isinstance(one, TokenTime)]
    figure, axis = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    for name in dict.fromkeys(one.model for one in times):
        line = [one for one in times if one.model == name]
        axis.plot(
            [one.position for one in line],
            [one.milliseconds for one in line],
            marker="o",
            label=name,
        )
    positions = sorted({one.position for one in times})
    axis.set_xscale("log", base=2)
    axis.set_xticks(positions, [f"{position:,}" for position in positions])
    axis.set(xlabel="tokens before it", ylabel="ms per generated token", ylim=(0, None))
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
