"""Time and memory as sentences grow: ``scripts/benchmark.py scaling``.

The models have equal sizes, are untrained, and read random tokens. "train" and "generate" keep the
number of tokens per batch constant: twice the length means half the batch size. "decode" measures
the cost of a decoding step as the translation grows, with one source length and one batch size.
Every measurement runs in a process of its own and reports the peak memory of that process.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Dict, Iterator, NamedTuple, Sequence

from benchmarks.machine import mebibytes
from benchmarks.model_options import ARCHITECTURES
from fairseq_lrn.errors import command_failed

# The directory from which this module can be run as benchmarks.scaling.
SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = {name: ARCHITECTURES[f"{name}_512"] for name in ("lrn", "transformer", "lstm")}
VOCABULARY_SIZE = 8000
BEAM = 5
# Batch size and source length of the kind "decode".
DECODE_BATCH, DECODE_SOURCE = 4, 32
KINDS = {
    "train": "a training step",
    "generate": "generating a batch",
    "decode": f"a decoding step, {DECODE_BATCH} sources of {DECODE_SOURCE} tokens",
}
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
# Training steps after the first one, which is not counted. No step starts after MAX_SECONDS.
STEPS = 3
MAX_SECONDS = 20


class Cost(NamedTuple):
    """One measurement.

    Attributes:
        model: one of :data:`MODELS`.
        kind: one of :data:`KINDS`.
        length: length of every target, in tokens; except for "decode", also of every source.
        batch: sentences per batch.
        seconds: time of a training step (forward and backward), or of translating the batch.
        memory: peak resident memory of the process, in MiB.
    """

    model: str
    kind: str
    length: int
    batch: int
    seconds: float
    memory: float

    @property
    def step(self) -> float:
        """Milliseconds per target position."""
        return 1000 * self.seconds / self.length


def measure(
    models: Sequence[str] = tuple(MODELS),
    kinds: Sequence[str] = tuple(KINDS),
    lengths: Sequence[int] = LENGTHS,
    tokens: int = 2048,
    known: Sequence[Cost] = (),
) -> Iterator[Cost]:
    """Measure every kind at every length, with the models in turns.

    Args:
        models: names in :data:`MODELS`.
        kinds: names in :data:`KINDS`.
        lengths: in tokens.
        tokens: tokens per batch on each side; a batch has at least one sentence. Not for "decode".
        known: earlier measurements, which are not repeated.

    Yields:
        each measurement as soon as it is complete.

    Raises:
        InputError: a run failed; the message has the end of its output.
    """
    found = {cost[:4]: cost for cost in known}
    for kind in kinds:
        for length in lengths:
            batch = DECODE_BATCH if kind == "decode" else max(1, tokens // length)
            for model in models:
                key = (model, kind, length, batch)
                if key in found:
                    yield found[key]
                    continue
                command = [sys.executable, "-m", __name__, *map(str, key)]
                run = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True)
                if run.returncode != 0:
                    raise command_failed(
                        f"{kind} of {model} with {length} tokens per sentence", run.stderr
                    )
                yield Cost(*key, **json.loads(run.stdout.splitlines()[-1]))


def run(model_name: str, kind: str, length: int, batch: int) -> Dict[str, float]:
    """Measure in this process: ``seconds`` and ``memory`` of a :class:`Cost`."""
    import torch

    torch.manual_seed(1)
    model, dictionary = build(model_name, length)
    source_length = DECODE_SOURCE if kind == "decode" else length
    source = torch.randint(dictionary.nspecial, VOCABULARY_SIZE, (batch, source_length))
    target = torch.randint(dictionary.nspecial, VOCABULARY_SIZE, (batch, length))
    sizes = torch.full((batch,), source_length)
    timed = _train if kind == "train" else _generate
    seconds = timed(model, dictionary, source, sizes, target)
    return {"seconds": seconds, "memory": peak_memory()}


def peak_memory() -> float:
    """Peak resident memory of this process so far, in MiB."""
    try:
        # getrusage would include the memory of the process that started this one.
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return mebibytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def build(model_name: str, length: int):
    """An untrained model of :data:`MODELS` for sentences of *length* tokens, and its dictionary."""
    from fairseq import models, options
    from fairseq.data import Dictionary
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import fairseq_lrn.models  # noqa: F401  (registers the models)

    arguments = ["data", *MODELS[model_name], "--dropout", "0.1"]
    for side in ("source", "target"):
        arguments += [f"--max-{side}-positions", str(max(length, DECODE_SOURCE) + 8)]
    args = options.parse_args_and_arch(options.get_training_parser(), arguments)
    dictionary = Dictionary()
    for number in range(VOCABULARY_SIZE - dictionary.nspecial):
        dictionary.add_symbol(str(number))
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return models.build_model(convert_namespace_to_omegaconf(args).model, task), dictionary


def _train(model, dictionary, source, sizes, target) -> float:
    """Median seconds of a training step, without the optimiser."""
    import torch

    times = []
    for _ in range(1 + STEPS):
        model.zero_grad()
        started = time.perf_counter()
        logits = model(source, sizes, target)[0]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        loss.backward()
        times.append(time.perf_counter() - started)
        if len(times) > 1 and sum(times) > MAX_SECONDS:
            break
    return statistics.median(times[1:])


def _generate(model, dictionary, source, sizes, target) -> float:
    """Seconds to generate hypotheses of exactly the length of *target*."""
    from fairseq.sequence_generator import SequenceGenerator

    from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator

    model.eval()
    model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
    has_search = hasattr(model.decoder, "start_search")
    search = RecurrentSequenceGenerator if has_search else SequenceGenerator

    def translate(length):
        options = {"beam_size": BEAM, "min_len": length, "max_len_a": 0, "max_len_b": length}
        sample = {"net_input": {"src_tokens": source, "src_lengths": sizes}}
        search([model], dictionary, **options).generate([model], sample)

    translate(2)
    started = time.perf_counter()
    translate(len(target[0]) - 1)
    return time.perf_counter() - started


# The head of a Markdown table.
HEAD = """\
| measured | length | batch | model | seconds | ms per position | MiB |
| --- | ---: | ---: | --- | ---: | ---: | ---: |"""


def format_row(cost: Cost) -> str:
    """A row of the Markdown table that starts with :data:`HEAD`."""
    return (
        f"| {cost.kind} | {cost.length} | {cost.batch} | {cost.model} | {cost.seconds:.2f} "
        f"| {cost.step:.2f} | {cost.memory:.0f} |"
    )


def plot(costs: Sequence[Cost], path: str) -> None:
    """Draw time and memory against the length into an image file, one column per kind.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: matplotlib does not know the format of the file's suffix.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = [kind for kind in KINDS if any(cost.kind == kind for cost in costs)]
    figure, axes = pyplot.subplots(
        2, len(kinds), figsize=(4.5 * len(kinds), 7), sharex=True, squeeze=False
    )
    for column, kind in enumerate(kinds):
        for model in dict.fromkeys(cost.model for cost in costs):
            line = [cost for cost in costs if (cost.kind, cost.model) == (kind, model)]
            lengths = [cost.length for cost in line]
            times = [cost.step if kind == "decode" else cost.seconds for cost in line]
            axes[0][column].plot(lengths, times, "o-", label=model)
            axes[1][column].plot(lengths, [cost.memory for cost in line], "o-", label=model)
        unit = "milliseconds" if kind == "decode" else "seconds"
        axes[0][column].set(title=KINDS[kind], ylabel=unit, ylim=(0, None))
        axes[1][column].set(ylabel="peak memory, MiB", xlabel="length, tokens", ylim=(0, None))
        for row in range(2):
            axes[row][column].set_xscale("log", base=2)
            axes[row][column].grid(alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
