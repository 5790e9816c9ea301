"""Time the search of several models on a GPU, in turns in one process.

    PYTHONPATH=scripts python -m benchmarks.gpu_decoding DATA NAME=CHECKPOINT ...

A process of its own for each model would count what the first batch of a process costs. All
translations have the same length, because hardly trained models end them arbitrarily.
scripts/gpu_report.sh runs this file.
"""

import argparse
import sys
from typing import Callable, Dict, Iterator, NamedTuple, Sequence

import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import data_utils
from fairseq.dataclass.configs import GenerationConfig

import fairseq_lrn  # noqa: F401  (registers the models)
from benchmarks.operator_speed import take_turns
from fairseq_lrn.tasks import LRNTranslationTask
from fairseq_lrn.tasks.translation import LRNTranslationConfig

BEAM, LENGTH = 5, 30
# Sentences in a batch, and how many batches a turn has.
BATCHES = {1: 8, 16: 4, 128: 2}
HEAD = "| batch | model | sentences/s |\n| ---: | --- | ---: |"


class Speed(NamedTuple):
    """The speed of a model, in sentences per second."""

    batch: int
    model: str
    speed: float


def measure(
    data: str,
    paths: Dict[str, str],
    device: str = "cuda",
    rounds: int = 3,
    batches: Dict[int, int] = BATCHES,
) -> Iterator[Speed]:
    """Translate sentences of the validation set.

    Args:
        data: directory of the prepared data.
        paths: checkpoints, by name.
        device: device of the models.
        rounds: turns of each model.
        batches: number of batches in a turn, by their size.

    Yields:
        the speed of each model with each size.
    """
    source, target = data_utils.infer_language_pair(data)
    options = {"source_lang": source, "target_lang": target, "required_seq_len_multiple": 1}
    task = LRNTranslationTask.setup_task(
        LRNTranslationConfig(data=data, train_subset="train", dataset_impl=None, **options)
    )
    task.load_dataset("valid")
    models = {}
    for name, path in paths.items():
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([path], task=task)
        models[name] = model.to(device).eval()
        model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
    for size, number in batches.items():
        samples = _samples(task, size, number, device)
        candidates = {name: _translator(task, model, samples) for name, model in models.items()}
        times = take_turns(candidates, rounds, torch.device(device))
        sentences = sum(sample["nsentences"] for sample in samples)
        for name, milliseconds in times.items():
            yield Speed(size, name, 1000 * sentences / milliseconds)


def _samples(task: LRNTranslationTask, size: int, number: int, device: str) -> list:
    dataset = task.dataset("valid")
    samples = []
    for start in range(0, min(len(dataset), size * number), size):
        indices = range(start, min(len(dataset), start + size))
        sample = dataset.collater([dataset[index] for index in indices])
        samples.append(utils.move_to_cuda(sample) if device == "cuda" else sample)
    return samples


def _translator(task: LRNTranslationTask, model: torch.nn.Module, samples: list) -> Callable:
    search = GenerationConfig(beam=BEAM, min_len=LENGTH, max_len_a=0, max_len_b=LENGTH)
    generator = task.build_generator([model], search)

    def translate() -> None:
        for sample in samples:
            task.inference_step(generator, [model], sample)

    return translate


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("models", nargs="+", metavar="NAME=CHECKPOINT")
    args = parser.parse_args(arguments)
    print(HEAD, flush=True)
    for found in measure(args.data, dict(model.split("=", 1) for model in args.models)):
        print(f"| {found.batch} | {found.model} | {found.speed:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
