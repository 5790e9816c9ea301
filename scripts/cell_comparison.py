"""The paper's comparison of cells, on trained models: ``scripts/compare_cells.py``."""

import os
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.dataclass.configs import GenerationConfig
from fairseq.optim.adam import Adam
from torch import nn

from benchmarks.operator_speed import take_turns
from fairseq_lrn import checkpoints
from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import (
    SentenceLabelSmoothedCrossEntropy,
)
from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks import LRNTranslationTask
from fairseq_lrn.tasks.translation import LRNTranslationConfig
from training_results import read_bleu

BASELINE = "gru"
# As in scripts/compare_cells.sh; all models are timed with the length penalty of the paper.
BEAM, LENPEN, BATCH_SIZE = 4, 0.6, 64


class Published(NamedTuple):
    """The paper's figures for WMT14 English-German (Zhang and Sennrich, 2019, table 4).

    Attributes:
        bleu: BLEU on the test set.
        training: seconds per batch.
        decoding: milliseconds per sentence.
    """

    bleu: float
    training: float
    decoding: float


PAPER = {
    "gru": Published(26.28, 2.67, 45.35),
    "atr": Published(25.70, 1.33, 34.40),
    "sru": Published(25.91, 1.34, 42.84),
    "lrn": Published(26.26, 0.99, 36.50),
    "olrn": Published(26.73, 1.15, 40.19),
}


class Result(NamedTuple):
    """The figures of one cell's model.

    Attributes:
        cell: name of the cell.
        parameters: number of parameters.
        bleu: tokenised BLEU on the test set.
        training: milliseconds per batch.
        decoding: milliseconds per sentence.
    """

    cell: str
    parameters: int
    bleu: float
    training: float
    decoding: float


def measure(
    directory: str, cells: Sequence[str], seed: int = 1, rounds: int = 3, max_tokens: int = 4096
) -> List[Result]:
    """Time the models in ``directory/CELL-SEED/checkpoints``, in turns in one process.

    Training: forward, backward, gradient clipping and a step of Adam on the same few batches of the
    training set. The learning rate is 0, so that the models do not change. Decoding: beam search
    over the whole test set.

    Args:
        directory: the ``--dir`` of ``scripts/compare_cells.sh``.
        cells: names of cells.
        seed: random seed with which the models were trained.
        rounds: turns of each cell.
        max_tokens: size of the training batches, in tokens.

    Raises:
        InputError: a model or its translations are missing.
    """
    data = os.path.join(directory, "data-bin")
    task = LRNTranslationTask.setup_task(
        LRNTranslationConfig(
            data=data,
            source_lang="en",
            target_lang="de",
            length_penalty="gnmt",
            # The command line would copy these from its other groups of options.
            train_subset="train",
            dataset_impl=None,
            required_seq_len_multiple=1,
        )
    )
    for split in ("train", "test"):
        task.load_dataset(split)
    # A few batches, spread over all sentence lengths.
    training = _batches(task, "train", parts=(1, 3, 5, 7), max_tokens=max_tokens)
    test = _batches(task, "test", max_sentences=BATCH_SIZE)
    num_sentences = len(task.dataset("test"))

    models, bleu = {}, {}
    for cell in cells:
        run = os.path.join(directory, f"{cell}-{seed}")
        path = os.path.join(run, "checkpoints")
        if not os.path.isdir(path):
            raise InputError(f"{path} is missing: train first, with scripts/compare_cells.sh")
        path = os.path.join(path, checkpoints.preferred(path))
        (models[cell],), _, _ = checkpoint_utils.load_model_ensemble_and_task([path], task=task)
        bleu[cell] = read_bleu(os.path.join(run, "generate-test.txt"))

    cpu = torch.device("cpu")
    trainers = {cell: _trainer(model, task, training) for cell, model in models.items()}
    trained = take_turns(trainers, rounds, cpu)
    translators = {cell: _translator(model, task, test) for cell, model in models.items()}
    decoded = take_turns(translators, rounds, cpu)
    return [
        Result(
            cell,
            sum(parameter.numel() for parameter in models[cell].parameters()),
            bleu[cell],
            trained[cell] / len(training),
            decoded[cell] / num_sentences,
        )
        for cell in cells
    ]


def _batches(task, split: str, parts: Sequence[int] = (), **size) -> list:
    dataset = task.dataset(split)
    with data_utils.numpy_seed(1):
        indices = dataset.ordered_indices()
    batches = dataset.batch_by_size(indices, **size, required_batch_size_multiple=1)
    if parts:
        batches = [batches[len(batches) * part // 8] for part in parts]
    return [dataset.collater([dataset[int(index)] for index in batch]) for batch in batches]


def _trainer(model: nn.Module, task, batches: list) -> Callable[[], None]:
    criterion = SentenceLabelSmoothedCrossEntropy(task, False, 0.1)
    parameters = list(model.parameters())
    optimizer = Adam(parameters, lr=0.0, betas=(0.9, 0.999), eps=1e-9)

    def train() -> None:
        model.train()
        for batch in batches:
            optimizer.zero_grad()
            loss, sample_size, _ = criterion(model, batch)
            (loss / sample_size).backward()
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimizer.step()

    return train


def _translator(model: nn.Module, task, batches: list) -> Callable[[], None]:
    model.make_generation_fast_(need_attn=False)  # like fairseq-generate
    generator = task.build_generator([model], GenerationConfig(beam=BEAM, lenpen=LENPEN))

    def translate() -> None:
        model.eval()
        for batch in batches:
            task.inference_step(generator, [model], batch)

    return translate


def format_table(results: Sequence[Result]) -> str:
    """A Markdown table of measured and published figures; times also relative to the GRU."""
    baseline = _baseline(results)
    rows = [
        "| cell | parameters | BLEU | training, ms per batch | / GRU | decoding, ms per sentence "
        "| / GRU | paper: BLEU | training, s per batch | / GRU | decoding, ms per sentence "
        "| / GRU |",
        "| --- " * 12 + "|",
    ]
    for result in results:
        cells = [result.cell, str(result.parameters), f"{result.bleu:.2f}"]
        cells += _times(result, baseline)
        published = PAPER.get(result.cell)
        if published is None:
            cells += ["-"] * 5
        else:
            cells += [f"{published.bleu:.2f}", *_times(published, PAPER[BASELINE])]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _times(figures, baseline) -> List[str]:
    columns = []
    for name in ("training", "decoding"):
        value = getattr(figures, name)
        columns.append(f"{value:.2f}")
        columns.append(f"{value / getattr(baseline, name):.2f}" if baseline else "-")
    return columns


def _baseline(results: Sequence[Result]) -> Optional[Result]:
    return next((result for result in results if result.cell == BASELINE), None)


def plot(results: Sequence[Result], path: str) -> None:
    """Draw BLEU against training and decoding time: measured above, published below.

    Raises:
        InputError: the baseline is not among the results.
        ImportError: matplotlib is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    baseline = _baseline(results)
    if baseline is None:
        raise InputError(f"the plot is relative to {BASELINE}: measure {BASELINE} as well")
    groups: Dict[str, dict] = {
        "lrn_rnmt on Multi30k English-German (measured)": {r.cell: r for r in results},
        "WMT14 English-German (published in the paper)": PAPER,
    }
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 7), layout="constrained", sharex="col")
    for row, (title, group) in zip(axes, groups.items()):
        for axis, name in zip(row, ("training", "decoding")):
            for cell, figures in group.items():
                time = getattr(figures, name) / getattr(group[BASELINE], name)
                color = "tab:orange" if "lrn" in cell else "tab:blue"
                axis.scatter(time, figures.bleu, color=color)
                axis.annotate(cell, (time, figures.bleu), textcoords="offset points", xytext=(5, 5))
            axis.set_ylabel("BLEU")
            axis.set_title(title, fontsize="medium")
            axis.margins(0.2)
            axis.grid(alpha=0.3)
    for axis, name in zip(axes[-1], ("training, time per batch", "decoding, time per sentence")):
        axis.set_xlabel(f"{name} (GRU = 1, left is faster)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
