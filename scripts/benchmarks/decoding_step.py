"""Where the time of a decoding step goes: ``scripts/benchmark.py step``.

One batch of sentences of middling length is translated with fairseq's search and, where the model
can be searched with it, with ours, in bfloat16 and in 8 bits, too, where the processor has them:
first timed, then watched by torch's profiler.
"""

import time
from collections import defaultdict
from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
from torch.profiler import ProfilerActivity, profile

from fairseq_lrn.modules.linear import can_pack
from fairseq_lrn.modules.precision import set_matmul_dtype
from translation_equivalence import Condition, SubsetTranslator

BEAM = 5
# The task and the type of the products.
THEIRS = {"fairseq's": ("translation", "float32")}
OURS = {"ours": ("translation_lrn", "float32")}
ROUNDED = {f"ours, {dtype}": ("translation_lrn", dtype) for dtype in ("bfloat16", "int8")}
# What the operators of a kind are called, the first that fits; their names begin with it.
KINDS = {
    "products": (
        *("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear"),
        "fairseq_lrn::int8_linear",
    ),
    "recurrence, attention, norms": (
        *("fairseq_lrn::lrn_decoder_step", "fairseq_lrn::lrn_scan", "aten::mkldnn_rnn_layer"),
        *("aten::_scaled_dot_product", "aten::_softmax", "aten::native_layer_norm"),
        *("aten::sigmoid", "aten::tanh", "aten::relu", "aten::lstm"),
    ),
    "likeliest symbols": ("fairseq_lrn::top_log_probs", "aten::topk", "aten::_log_softmax"),
    "copies": (
        *("aten::copy_", "aten::index", "aten::gather", "aten::cat", "aten::stack"),
        *("aten::masked_", "aten::fill_", "aten::clone"),
    ),
}
OTHER, OUTSIDE = "other operators", "outside operators"


class Profile(NamedTuple):
    """What a search spends.

    Attributes:
        name: of the model.
        search: whose, and in which type if not in float32.
        batch_size: sentences in the batch; the last of a set may have fewer than asked for.
        steps: positions that were decoded.
        milliseconds: for each, the encoder's time included; median of the turns.
        shares: of the time, by kind, each from 0 to 1, while the profiler watched.
    """

    name: str
    search: str
    batch_size: int
    steps: int
    milliseconds: float
    shares: Dict[str, float]


def measure(
    data: str,
    models: Sequence[Tuple[str, str]],
    batch_sizes: Sequence[int] = (1, 16, 128),
    rounds: int = 3,
    subset: str = "test",
) -> List[Profile]:
    """Profile every model at every batch size.

    Args:
        data: directory that ``scripts/prepare_text.py`` or ``fairseq-preprocess`` made.
        models: names and checkpoints.
        batch_sizes: sentences in a batch.
        rounds: how often a batch is timed.
        subset: of the data.

    Raises:
        InputError: a checkpoint or the data cannot be used.
    """
    profiles = []
    for name, path in models:
        translator = SubsetTranslator(path, data, subset, BEAM)
        searches = dict(THEIRS)
        if hasattr(translator.model.decoder, "start_search"):
            searches.update(OURS)
            for name_of_search, (task, dtype) in ROUNDED.items():
                if can_pack(getattr(torch, dtype)):
                    searches[name_of_search] = task, dtype
        for batch_size in batch_sizes:
            for search, (task, dtype) in searches.items():
                set_matmul_dtype([translator.model], dtype)
                if task == "translation_lrn":
                    translator.tasks[task].cfg.generation_dtype = dtype
                measured = _profile(translator, translator.tasks[task], batch_size, rounds)
                profiles.append(Profile(name, search, *measured))
    return profiles


@torch.no_grad()
def _profile(translator: SubsetTranslator, task, batch_size: int, rounds: int) -> tuple:
    """All of a :class:`Profile` but for the names."""
    batches = list(translator.batches(Condition("", batch_size)))
    batch = batches[len(batches) // 2]
    dataset = translator.dataset
    sample = dataset.collater([dataset[index] for index in batch])
    generator = task.build_generator([translator.model], translator.generation)
    decoder, calls = translator.model.decoder, []

    def counted(*args, **kwargs):
        calls.append(1)
        return type(decoder).output_layer(decoder, *args, **kwargs)

    def translate() -> float:
        started = time.perf_counter()
        task.inference_step(generator, [translator.model], sample)
        return time.perf_counter() - started

    translate()
    seconds = sorted(translate() for _ in range(rounds))[rounds // 2]
    decoder.output_layer = counted
    try:
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            watched_seconds = translate()
    finally:
        del decoder.output_layer
    spent: Dict[str, float] = defaultdict(float)
    for event in watched.key_averages():
        spent[_kind(event.key)] += event.self_cpu_time_total / 1e6
    shares = {kind: spent[kind] / watched_seconds for kind in (*KINDS, OTHER)}
    shares[OUTSIDE] = 1 - sum(shares.values())
    return len(batch), len(calls), 1000 * seconds / len(calls), shares


def _kind(operator: str) -> str:
    for kind, names in KINDS.items():
        if operator.startswith(names):
            return kind
    return OTHER


def format_table(profiles: Sequence[Profile]) -> str:
    """A Markdown table."""
    kinds = [*KINDS, OTHER, OUTSIDE]
    rows = [
        "| model | search | batch | ms for a step | " + " | ".join(kinds) + " |",
        "| --- | --- | ---: | ---: |" + " ---: |" * len(kinds),
    ]
    for one in profiles:
        shares = " | ".join(f"{one.shares[kind]:.0%}" for kind in kinds)
        rows.append(
            f"| {one.name} | {one.search} | {one.batch_size} | {one.milliseconds:.2f} | {shares} |"
        )
    return "\n".join(rows)
