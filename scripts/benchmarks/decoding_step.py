"""Break down the time of a decoding step: ``scripts/benchmark.py step``.

One batch of sentences of medium length is translated with fairseq's search and, if the model
supports it, with the search of the task ``translation_lrn``: in float32 and, if the processor
supports them, in bfloat16 and in 8 bits. Each search is first timed, then run under torch's
profiler.
"""

import time
from collections import defaultdict
from statistics import median
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.rows import markdown_table
from fairseq_lrn.modules.linear import can_pack
from fairseq_lrn.modules.precision import set_matmul_dtype
from translation_equivalence import Condition, SubsetTranslator

BEAM = 5
# For each search, its task and the type of its matrix products.
FAIRSEQ_SEARCH = {"fairseq's": ("translation", "float32")}
LRN_SEARCH = {"ours": ("translation_lrn", "float32")}
ROUNDED_SEARCHES = {f"ours, {dtype}": ("translation_lrn", dtype) for dtype in ("bfloat16", "int8")}
# Prefixes of the names of each kind of operator. The first kind that matches counts.
KINDS = {
    "products": (
        *("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear"),
        "fairseq_lrn::int8_linear",
    ),
    "recurrence, attention, norms": (
        *("fairseq_lrn::lrn_decoder_step", "fairseq_lrn::lrn_scan", "aten::mkldnn_rnn_layer"),
        *("fairseq_lrn::additive_attention", "aten::_scaled_dot_product"),
        *("aten::_softmax", "aten::native_layer_norm"),
        *("aten::sigmoid", "aten::tanh", "aten::relu", "aten::lstm"),
    ),
    "search, top tokens": (
        *("fairseq_lrn::lrn_beam_search", "fairseq_lrn::rnmt_beam_search"),
        *("fairseq_lrn::top_log_probs", "aten::topk", "aten::_log_softmax"),
    ),
    "copies": (
        *("aten::copy_", "aten::index", "aten::gather", "aten::cat", "aten::stack"),
        *("aten::masked_", "aten::fill_", "aten::clone"),
    ),
}
OTHER, OUTSIDE = "other operators", "outside operators"


class Profile(NamedTuple):
    """The cost of a search.

    Attributes:
        name: name of the model.
        search: fairseq's search or ours, with the type of matrix products unless it is float32.
        batch_size: sentences in the batch; the last batch of a set may be smaller than requested.
        steps: number of decoded positions.
        milliseconds: median time per step. It includes a share of the encoder's time.
        shares: for each kind of operator, its share of the time under the profiler (0 to 1).
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
        data: directory of prepared data (``fairseq-lrn prepare`` or ``fairseq-preprocess``).
        models: names and checkpoints.
        batch_sizes: sentences per batch.
        rounds: number of timed runs per batch.
        subset: the subset of the data to translate.

    Raises:
        InputError: a checkpoint or the data cannot be used.
    """
    profiles = []
    for name, path in models:
        translator = SubsetTranslator(path, data, subset, BEAM)
        searches = dict(FAIRSEQ_SEARCH)
        if hasattr(translator.model.decoder, "start_search"):
            searches.update(LRN_SEARCH)
            for search, (task, dtype) in ROUNDED_SEARCHES.items():
                if can_pack(getattr(torch, dtype)):
                    searches[search] = task, dtype
        for batch_size in batch_sizes:
            for search, measured in _measure_searches(translator, searches, batch_size, rounds):
                profiles.append(Profile(name, search, *measured))
    return profiles


@torch.no_grad()
def _measure_searches(
    translator: SubsetTranslator,
    searches: Dict[str, Tuple[str, str]],
    batch_size: int,
    rounds: int,
) -> Iterator[Tuple[str, tuple]]:
    """Let searches take turns. Gives their names, and the fields of a :class:`Profile` after it."""
    batches = list(translator.batches(Condition("", batch_size)))
    batch = batches[len(batches) // 2]
    dataset, models = translator.dataset, [translator.model]
    sample = dataset.collater([dataset[index] for index in batch])

    def choose(search: str) -> Callable[[], float]:
        name, dtype = searches[search]
        task = translator.tasks[name]
        set_matmul_dtype(models, dtype)
        if name == "translation_lrn":
            task.cfg.generation_dtype = dtype
        generator = task.build_generator(models, translator.generation)

        def translate() -> float:
            started = time.perf_counter()
            task.inference_step(generator, models, sample)
            return time.perf_counter() - started

        translate()  # it may pack the weights for this search
        return translate

    seconds: Dict[str, List[float]] = {search: [] for search in searches}
    for _ in range(rounds):
        for search in searches:
            seconds[search].append(choose(search)())
    for search in searches:
        translate = choose(search)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            profiled_seconds = translate()
        steps = _count_steps(translate, translator.model)
        spent: Dict[str, float] = defaultdict(float)
        for event in profiler.key_averages():
            spent[_kind(event.key)] += event.self_cpu_time_total / 1e6
        shares = {kind: spent[kind] / profiled_seconds for kind in (*KINDS, OTHER)}
        shares[OUTSIDE] = 1 - sum(shares.values())
        yield search, (len(batch), steps, 1000 * median(seconds[search]) / steps, shares)


def _count_steps(translate: Callable[[], float], model: nn.Module) -> int:
    """The number of positions that a search decodes."""
    decoder, calls = model.decoder, []

    def counted_output_layer(*args, **kwargs):
        calls.append(1)
        return type(decoder).output_layer(decoder, *args, **kwargs)

    decoder.output_layer = counted_output_layer  # a search in one operator does not call it
    try:
        translate()
    finally:
        del decoder.output_layer
    return len(calls)


def _kind(operator: str) -> str:
    """The kind of a torch operator, by its name."""
    for kind, names in KINDS.items():
        if operator.startswith(names):
            return kind
    return OTHER


def format_table(profiles: Sequence[Profile]) -> str:
    """A Markdown table."""
    kinds = [*KINDS, OTHER, OUTSIDE]
    rows = []
    for row in profiles:
        shares = (f"{row.shares[kind]:.0%}" for kind in kinds)
        rows.append((row.name, row.search, row.batch_size, f"{row.milliseconds:.2f}", *shares))
    columns = ("model", "search", "batch", "ms per step", *kinds)
    return markdown_table(columns, rows, text=("model", "search"))
