"""Time classifiers, taggers and readers with different cells: ``scripts/benchmark.py classify``.

Every cell is in the same model, with the recipe and the data of ``scripts/imdb.sh``, ``snli.sh``,
``conll2003.sh`` or ``squad.sh``. Every model is trained on the same batches, in turns.
"""

import resource
import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Dict, List, NamedTuple, Sequence

import torch

from benchmarks.labelled_recipes import RECIPES
from benchmarks.machine import mebibytes
from benchmarks.rows import markdown_table
from benchmarks.training_step import Trainee, build_trainee
from fairseq_lrn.data.labelled_dataset import INPUT_NAMES
from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.modules import CELLS
from fairseq_lrn.modules.answer_pointer import best_spans

NUM_BATCHES = 8
# Of the texts of random words.
QUESTION_WORDS = 12
WORD_LENGTH = 8


class LabelledSpeed(NamedTuple):
    """The speed of a model.

    Attributes:
        cell: its cell.
        parameters: number of trained parameters.
        epoch: seconds of an epoch of training, from the time of some of its batches.
        inference: texts (or pairs of texts) per second in inference.
    """

    cell: str
    parameters: int
    epoch: float
    inference: float


class LengthCost(NamedTuple):
    """The cost of labelling one text.

    Attributes:
        cell: the model's cell.
        words: number of words of the text.
        milliseconds: median time.
        megabytes: largest memory of the process so far.
    """

    cell: str
    words: int
    milliseconds: float
    megabytes: float


@dataclass
class Setup:
    """A model and its task, and some batches of its training data."""

    trainee: Trainee
    task: Any
    batches: List[Any]
    share: float  # of the words of an epoch that are in the batches


def build(recipe: str, data: str, cell: str) -> Setup:
    """Build a model, and take some batches of its training data.

    Args:
        recipe: a name in :data:`RECIPES`.
        data: data that the script of the recipe prepared.
        cell: the cell.
    """
    arguments = [*RECIPES[recipe].split(), "--cell", cell, "--optimizer", "torch_adam"]
    trainee, task, cfg = build_trainee([data, *arguments, "--word-vectors", f"{data}/vectors.txt"])
    task.load_dataset("train", data_selector=None)
    dataset = task.dataset("train")
    iterator = task.get_batch_iterator(
        dataset,
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        seed=1,
    ).next_epoch_itr(shuffle=True)
    batches = [batch for _, batch in zip(range(NUM_BATCHES), iterator)]
    share = sum(batch["ntokens"] for batch in batches) / dataset.sizes.sum()
    return Setup(trainee, task, batches, share)


def measure(
    recipe: str, data: str, cells: Sequence[str] = CELLS, rounds: int = 5
) -> List[LabelledSpeed]:
    """Time training steps and inference, in turns.

    Args:
        recipe, data: see :func:`build`.
        cells: cells to measure.
        rounds: turns of each model, after one turn that does not count.
    """
    setups = {cell: build(recipe, data, cell) for cell in cells}
    times: Dict[str, Dict[str, List[float]]] = {cell: {"train": [], "infer": []} for cell in cells}
    for turn in range(rounds + 1):
        for cell, setup in setups.items():
            for kind, run in (("train", train), ("infer", infer)):
                start = time.perf_counter()
                run(setup)
                if turn > 0:
                    times[cell][kind].append(time.perf_counter() - start)
    results = []
    for cell, setup in setups.items():
        texts = sum(batch["nsentences"] for batch in setup.batches)
        count = sum(p.numel() for p in setup.trainee.model.parameters() if p.requires_grad)
        seconds = {kind: median(values) for kind, values in times[cell].items()}
        results.append(
            LabelledSpeed(cell, count, seconds["train"] / setup.share, texts / seconds["infer"])
        )
    return results


def train(setup: Setup) -> None:
    """A training step with each batch."""
    for batch in setup.batches:
        setup.trainee.step(batch)


@torch.no_grad()
def infer(setup: Setup) -> None:
    """Labels, tags or answers of the texts of each batch."""
    model = setup.trainee.model.eval()
    for batch in setup.batches:
        arguments = batch["net_input"]
        if hasattr(model, "decode"):
            scores, extra = model(**arguments)
            model.decode(scores, extra["padding_mask"])
        elif hasattr(model, "pointer"):
            best_spans(*model(**arguments), setup.task.cfg.max_answer_distance)
        else:
            model(**arguments, classification_head_name=HEAD)


def measure_lengths(
    recipe: str, data: str, cell: str, lengths: Sequence[int], rounds: int = 5
) -> List[LengthCost]:
    """Time a single text of random words, for ascending lengths.

    Args:
        recipe, data, cell: see :func:`build`.
        lengths: numbers of words.
        rounds: calls that are timed, after one that is not.
    """
    setup = build(recipe, data, cell)
    results = []
    for length in sorted(lengths):
        setup.batches = [{"net_input": random_text(setup.task, length)}]
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            infer(setup)
            times.append(1e3 * (time.perf_counter() - start))
        peak = mebibytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        results.append(LengthCost(cell, length, median(times[1:]), peak))
    return results


def random_text(task: Any, length: int) -> Dict[str, torch.Tensor]:
    """The arguments of a model for one text of random words; for a reader with a short question."""
    sizes = [QUESTION_WORDS, length] if task.num_inputs == 2 else [length]
    arguments = {}
    for size, (tokens, _, characters) in zip(sizes, INPUT_NAMES):
        first = task.dictionary.nspecial
        arguments[tokens] = torch.randint(first, len(task.dictionary), (1, size))
        if task.reads_characters:
            shape = (1, size, WORD_LENGTH)
            arguments[characters] = torch.randint(first, len(task.character_dictionary), shape)
    return arguments


def format_lengths(costs: Sequence[LengthCost]) -> str:
    """A Markdown table of the costs of single texts."""
    rows = [
        (words, f"{milliseconds:.1f}", f"{1e3 * milliseconds / words:.1f}", f"{megabytes:.0f}")
        for _, words, milliseconds, megabytes in costs
    ]
    return markdown_table(("words", "ms", "ms per 1,000 words", "memory, MiB"), rows, text=())


def format_table(speeds: Sequence[LabelledSpeed]) -> str:
    """A Markdown table. The ratios compare each row with the first one."""
    first = speeds[0]
    columns = ["cell", "parameters, thousands", "epoch, s", f"this row / {first.cell}"]
    columns += ["inference, texts/s", f"{first.cell} / this row"]
    rows = []
    for cell, parameters, epoch, inference in speeds:
        training = f"{epoch:.1f}", f"{epoch / first.epoch:.2f}"
        ratio = f"{first.inference / inference:.2f}"
        rows.append((cell, f"{parameters / 1e3:.0f}", *training, f"{inference:.0f}", ratio))
    return markdown_table(columns, rows)
