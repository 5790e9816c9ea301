"""Time training and decoding of ``lrn_rnmt`` with each cell: ``scripts/benchmark.py cells``."""

import statistics
import sys
from types import SimpleNamespace
from typing import Dict, List, NamedTuple, Sequence

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from benchmarks.operator_speed import take_turns
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.models import RNMTModel
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.modules.cells import CELLS

BASELINE = "gru"
BEAM = 4  # the paper's


class Size(NamedTuple):
    """The sizes of a measurement.

    Attributes:
        width: width of embeddings and states.
        layers: layers of the encoder, and of the decoder.
        pairs: sentence pairs in the batch.
        words: number of entries of the dictionary.
        tokens: tokens of each sentence; 27 is about the mean of WMT14 English-German.
    """

    width: int
    layers: int
    pairs: int
    words: int
    tokens: int = 27


# The paper's model, a narrow one, and the size of scripts/compare_cells.sh.
SIZES: Dict[str, Size] = {
    "paper": Size(1024, 6, 16, 32000),
    "narrow": Size(128, 6, 16, 8000),
    "multi30k": Size(128, 2, 150, 8000),
}


class Times(NamedTuple):
    """Median times of one cell, and those of the GRU in turns with it.

    Attributes:
        size: the sizes.
        cell: name of the cell.
        training: milliseconds of a training step.
        decoding: milliseconds of a sentence in decoding.
        training_ratio: the training step's time divided by that with the GRU.
        decoding_ratio: the same for decoding.
    """

    size: Size
    cell: str
    training: float
    decoding: float
    training_ratio: float
    decoding_ratio: float


def measure(
    rounds: int = 3, sizes: Sequence[Size] = tuple(SIZES.values()), cells: Sequence[str] = CELLS
) -> List[Times]:
    """Time training steps and decoding with random weights and tokens.

    Each cell takes turns with the GRU, so that only two models are in memory. A training step is
    forward and backward pass, clipping and Adam. Decoding is beam search for translations that are
    as long as the sources.

    The rows appear on standard error as they come.

    Args:
        rounds: turns of each cell.
        sizes: sizes of each comparison.
        cells: names of cells. The GRU is always measured.
    """
    results = []
    for size in sizes:
        baseline = []  # training and decoding of the GRU in each pair
        for cell in [cell for cell in cells if cell != BASELINE] or [BASELINE]:
            kinds = _compare(cell, size, rounds)
            baseline.append([kind[BASELINE] for kind in kinds])
            if cell != BASELINE:
                times = [kind[cell] for kind in kinds]
                ratios = [kind[cell] / kind[BASELINE] for kind in kinds]
                results.append(Times(size, cell, *times, *ratios))
                print(format_row(results[-1]), file=sys.stderr, flush=True)
        results.append(Times(size, BASELINE, *map(statistics.median, zip(*baseline)), 1.0, 1.0))
    return results


def _compare(cell: str, size: Size, rounds: int) -> List[Dict[str, float]]:
    """Milliseconds of a training step, and of a sentence in decoding, with *cell* and the GRU."""
    models = {name: _Model(name, size) for name in dict.fromkeys([cell, BASELINE])}
    cpu = torch.device("cpu")
    training = take_turns({name: model.train for name, model in models.items()}, rounds, cpu)
    for model in models.values():
        model.prepare_for_decoding()
    decoding = take_turns({name: model.decode for name, model in models.items()}, rounds, cpu)
    return [training, {name: time / size.pairs for name, time in decoding.items()}]


class _Model:
    """A model with random weights, and a batch of random sentences."""

    def __init__(self, cell: str, size: Size):
        self.dictionary = Dictionary()
        for number in range(size.words - len(self.dictionary)):
            self.dictionary.add_symbol(f"word{number}")
        config = RNMTConfig(
            cell=cell,
            embed_dim=size.width,
            hidden_size=size.width,
            encoder_layers=size.layers,
            decoder_layers=size.layers,
            share_decoder_input_output_embed=True,
        )
        task = SimpleNamespace(source_dictionary=self.dictionary, target_dictionary=self.dictionary)
        self.model = RNMTModel.build_model(config, task).train()
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.0)
        self.tokens = size.tokens
        self.batch = _batch(size, self.dictionary)

    def train(self) -> None:
        self.optimizer.zero_grad()
        batch = self.batch
        logits, _ = self.model(batch["source"], batch["lengths"], batch["previous"])
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["target"].flatten(), label_smoothing=0.1
        )
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()

    def prepare_for_decoding(self) -> None:
        self.optimizer.zero_grad()
        del self.optimizer  # which holds twice as much as the weights
        self.model.eval()
        self.model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
        self.search = RecurrentSequenceGenerator(
            [self.model],
            self.dictionary,
            beam_size=BEAM,
            min_len=self.tokens - 1,  # without the end of sentence
            max_len_a=0,
            max_len_b=self.tokens - 1,
        )

    def decode(self) -> None:
        net_input = {"src_tokens": self.batch["source"], "src_lengths": self.batch["lengths"]}
        self.search.generate([self.model], {"net_input": net_input})


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


def format_table(results: Sequence[Times]) -> str:
    """A Markdown table: a training step, and a sentence in decoding, with times / GRU."""
    rows = [
        "| width | layers | pairs | words | cell | training, ms | / GRU | decoding, ms | / GRU |"
    ]
    rows.append("| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    return "\n".join([*rows, *map(format_row, results)])


def format_row(times: Times) -> str:
    """A row of the table."""
    size = times.size
    cells = [size.width, f"{size.layers} + {size.layers}", size.pairs, f"{size.words:,}"]
    cells += [times.cell, f"{times.training:,.0f}", f"{times.training_ratio:.2f}"]
    cells += [f"{times.decoding:.2f}", f"{times.decoding_ratio:.2f}"]
    return f"| {' | '.join(map(str, cells))} |"
