"""Time a training step of ``lrn_rnmt`` with each cell: ``scripts/benchmark.py cells``."""

from types import SimpleNamespace
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from benchmarks.operator_speed import take_turns
from fairseq_lrn.models import RNMTModel
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.modules.cells import CELLS

BASELINE = "gru"


class Size(NamedTuple):
    """The sizes of a measurement.

    Attributes:
        width: width of embeddings and states.
        layers: layers of the encoder, and of the decoder.
        pairs: sentence pairs in the batch.
        tokens: tokens of each sentence.
        vocabulary: number of tokens in the dictionary.
    """

    width: int
    layers: int
    pairs: int
    tokens: int = 27
    vocabulary: int = 8000


# The paper's model on a small batch, a narrow one, and the size of scripts/compare_cells.sh.
SIZES = (Size(1024, 6, 16), Size(128, 6, 16), Size(128, 2, 150))


class Step(NamedTuple):
    """A training step with one cell.

    Attributes:
        size: the sizes.
        cell: name of the cell.
        milliseconds: median time.
    """

    size: Size
    cell: str
    milliseconds: float


def measure(
    rounds: int = 3, sizes: Sequence[Size] = SIZES, cells: Sequence[str] = CELLS
) -> List[Step]:
    """Time forward and backward pass, clipping and Adam, with random weights and tokens, in turns.

    Args:
        rounds: turns of each cell.
        sizes: sizes of each comparison.
        cells: names of cells.
    """
    results = []
    for size in sizes:
        candidates = {cell: _trainer(cell, size) for cell in cells}
        times = take_turns(candidates, rounds, torch.device("cpu"))
        results += [Step(size, cell, time) for cell, time in times.items()]
    return results


def _trainer(cell: str, size: Size) -> Callable[[], None]:
    dictionary = Dictionary()
    for number in range(size.vocabulary - len(dictionary)):
        dictionary.add_symbol(f"word{number}")
    config = RNMTConfig(
        cell=cell,
        embed_dim=size.width,
        hidden_size=size.width,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        share_decoder_input_output_embed=True,
    )
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model = RNMTModel.build_model(config, task).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.0)
    batch = _batch(size, dictionary)

    def train() -> None:
        optimizer.zero_grad()
        logits, _ = model(batch["source"], batch["lengths"], batch["previous"])
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["target"].flatten(), label_smoothing=0.1
        )
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()

    return train


def _batch(size: Size, dictionary: Dictionary) -> Dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (size.pairs, size.tokens)
    source, target = (
        torch.randint(dictionary.nspecial, len(dictionary), shape, generator=generator)
        for _ in range(2)
    )
    source[:, -1] = target[:, -1] = dictionary.eos()
    lengths = torch.full((size.pairs,), size.tokens)
    return {
        "source": source,
        "lengths": lengths,
        "previous": target.roll(1, dims=1),
        "target": target,
    }


def format_table(steps: Sequence[Step]) -> str:
    """A Markdown table, with times relative to the GRU."""
    baseline: Dict[Size, Optional[float]] = {
        step.size: step.milliseconds for step in steps if step.cell == BASELINE
    }
    rows = ["| width | layers | pairs | cell | ms | / GRU |"]
    rows.append("| ---: | ---: | ---: | --- | ---: | ---: |")
    for size, cell, milliseconds in steps:
        reference = baseline.get(size)
        ratio = f"{milliseconds / reference:.2f}" if reference else "-"
        layers = f"{size.layers} + {size.layers}"
        rows.append(
            f"| {size.width} | {layers} | {size.pairs} | {cell} | {milliseconds:.0f} | {ratio} |"
        )
    return "\n".join(rows)
