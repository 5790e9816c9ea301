"""Time and memory against the length of sentences: ``scripts/benchmark.py scaling``.

Models of equal size that were not trained, on random symbols. A training step and generating have
a constant number of tokens, so that with twice the length there is half the batch. What a step of
decoding costs as the translation grows is measured with sources of one length and one size of
batch. Every measurement has a process of its own, whose largest memory it reports.
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
SYMBOLS = 8000
BEAM = 5
# Of the kind "decode".
BATCH, SOURCE = 4, 32
KINDS = {
    "train": "a training step",
    "generate": "generating a batch",
    "decode": f"a decoding step, {BATCH} sources of {SOURCE} tokens",
}
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
STEPS = 3  # of training, after a first one that is not counted; fewer if they take long
ENOUGH = 20  # seconds of training steps


class Cost(NamedTuple):
    """What was measured.

    Attributes:
        model: one of :data:`MODELS`.
        kind: one of :data:`KINDS`.
        length: of every target, in tokens; but for "decode" of every source, too.
        batch: sentences.
        seconds: for a training step, forward and backward, or for translating the batch.
        memory: largest resident memory of the process, MiB.
    """

    model: str
    kind: str
    length: int
    batch: int
    seconds: float
    memory: float

    @property
    def step(self) -> float:
        """Milliseconds for each target position."""
        return 1000 * self.seconds / self.length


def measure(
    models: Sequence[str] = tuple(MODELS),
    kinds: Sequence[str] = tuple(KINDS),
    lengths: Sequence[int] = LENGTHS,
    tokens: int = 2048,
    known: Sequence[Cost] = (),
) -> Iterator[Cost]:
    """Train and generate at every length, the models in turns; each cost as it is measured.

    Args:
        models, kinds: names, see above.
        lengths: in tokens.
        tokens: in a batch, on each side; at least one sentence. Not for "decode".
        known: measured before, and not again.

    Raises:
        InputError: a run failed, with the end of what it printed.
    """
    found = {cost[:4]: cost for cost in known}
    for kind in kinds:
        for length in lengths:
            batch = BATCH if kind == "decode" else max(1, tokens // length)
            for model in models:
                what = (model, kind, length, batch)
                if what in found:
                    yield found[what]
                    continue
                command = [sys.executable, "-m", __name__, *map(str, what)]
                run = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True)
                if run.returncode != 0:
                    raise command_failed(
                        f"{kind} of {model} with {length} tokens a sentence", run.stderr
                    )
                yield Cost(*what, **json.loads(run.stdout.splitlines()[-1]))


def run(model_name: str, kind: str, length: int, batch: int) -> Dict[str, float]:
    """One measurement, in this process: ``seconds`` and ``memory`` of a :class:`Cost`."""
    import torch

    torch.manual_seed(1)
    model, dictionary = build(model_name, length)
    source_length = SOURCE if kind == "decode" else length
    source = torch.randint(dictionary.nspecial, SYMBOLS, (batch, source_length))
    target = torch.randint(dictionary.nspecial, SYMBOLS, (batch, length))
    sizes = torch.full((batch,), source_length)
    work = _train if kind == "train" else _generate
    seconds = work(model, dictionary, source, sizes, target)
    return {"seconds": seconds, "memory": peak_memory()}


def peak_memory() -> float:
    """Largest resident memory of this process so far, MiB."""
    try:
        # What getrusage says includes the memory of the process that started this one.
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return mebibytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def build(model_name: str, length: int):
    """An untrained model of :data:`MODELS` for sentences of that length, and its dictionary."""
    from fairseq import models, options
    from fairseq.data import Dictionary
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import fairseq_lrn.models  # noqa: F401  (registers them)

    arguments = ["data", *MODELS[model_name], "--dropout", "0.1"]
    for side in ("source", "target"):
        arguments += [f"--max-{side}-positions", str(max(length, SOURCE) + 8)]
    args = options.parse_args_and_arch(options.get_training_parser(), arguments)
    dictionary = Dictionary()
    for number in range(SYMBOLS - dictionary.nspecial):
        dictionary.add_symbol(str(number))
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return models.build_model(convert_namespace_to_omegaconf(args).model, task), dictionary


def _train(model, dictionary, source, sizes, target) -> float:
    """Median seconds of a step, without the optimiser."""
    import torch

    times = []
    for _ in range(1 + STEPS):
        model.zero_grad()
        started = time.perf_counter()
        logits = model(source, sizes, target)[0]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        loss.backward()
        times.append(time.perf_counter() - started)
        if len(times) > 1 and sum(times) > ENOUGH:
            break
    return statistics.median(times[1:])


def _generate(model, dictionary, source, sizes, target) -> float:
    """Seconds for hypotheses of just that length."""
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


# Of a Markdown table.
HEAD = """\
| measured | length | batch | model | seconds | ms for each position | MiB |
| --- | ---: | ---: | --- | ---: | ---: | ---: |"""


def format_row(cost: Cost) -> str:
    """A row of the table under :data:`HEAD`."""
    return (
        f"| {cost.kind} | {cost.length} | {cost.batch} | {cost.model} | {cost.seconds:.2f} "
        f"| {cost.step:.2f} | {cost.memory:.0f} |"
    )


def plot(costs: Sequence[Cost], path: str) -> None:
    """Draw time and memory against the length, a column for each kind, into an image file."""
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
