"""A text as one stream of tokens, read in columns and segments."""

from array import array
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

import numpy as np
import torch
from fairseq.data import FairseqDataset
from torch import Tensor
from torch.utils.data import Dataset

from fairseq_lrn.errors import InputError

# Lengths of varied segments, from AWD-LSTM: half of the length with this probability, ...
HALF_PROBABILITY = 0.05
# ... then normally distributed with this standard deviation, and with this minimum.
LENGTH_STD = 5.0
SHORTEST = 5


class Segments(NamedTuple):
    """How a text is cut.

    Attributes:
        columns: number of parts of equal length that are read side by side.
        length: tokens of a segment, per column.
        varied: whether each epoch draws new lengths of segments, around *length*.
        max_excess: how much longer than *length* a varied segment may be.
        seed: of the lengths.
    """

    columns: int
    length: int
    varied: bool = False
    max_excess: int = 0
    seed: int = 1


class Text(FairseqDataset):
    """The lines of a text as one sequence of tokens.

    Args:
        lines: the lines, each of which ends with the end of a sentence; at least one.

    Attributes:
        tokens: of the text, ``N``, as 32-bit integers.
    """

    def __init__(self, lines: Iterable[Tensor]):
        super().__init__()
        tokens = array("i")  # a tensor for each line would take more memory than its tokens
        for line in lines:
            tokens.frombytes(line.to(torch.int32).numpy().tobytes())
        self.tokens = torch.frombuffer(tokens, dtype=torch.int32)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index):
        return self.tokens[index]


class TextStream(Dataset):
    """The batches of a text that is read from its beginning to its end.

    The text is cut into columns of equal length, up to one token. The columns are read side by
    side, one segment after the other. Every token of the text is a target exactly once. The input
    at each position is the token before the target; before the first token of the text it is the
    end of a sentence.

    Args:
        tokens: the text, N tokens.
        segments: how it is cut.
        eos, pad: the tokens that end a sentence and that fill a column.
        shard: index of this process, and number of processes.
        shares_targets: the processes read the same columns, and divide the targets among
            themselves. Otherwise each process has columns of its own.

    Raises:
        InputError: there are fewer tokens than columns.
    """

    def __init__(
        self,
        tokens: Tensor,
        segments: Segments,
        eos: int,
        pad: int,
        shard: Tuple[int, int] = (0, 1),
        shares_targets: bool = False,
    ):
        self.segments, self.pad = segments, pad
        self.shard, self.shares_targets = shard, shares_targets
        index, number = (0, 1) if shares_targets else shard
        columns = segments.columns * number
        if len(tokens) < columns:
            raise InputError(
                f"the text has {len(tokens)} tokens, which are too few for {columns} columns: give "
                "a longer text, or a smaller --batch-size"
            )
        parts = torch.tensor_split(tokens, columns)
        before = [tokens.new_tensor(eos), *(part[-1] for part in parts[:-1])]
        mine = slice(index * segments.columns, (index + 1) * segments.columns)
        # The columns, each after the token before it: B x (1 + T).
        self._columns = tokens.new_full((segments.columns, 1 + len(parts[0])), pad)
        for column, first, part in zip(self._columns, before[mine], parts[mine]):
            column[0] = first
            column[1 : 1 + len(part)] = part
        self._epoch = 0
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Draw the lengths of the segments of an epoch, which begins with 1."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self.starts = segment_starts(self._columns.size(1) - 1, self.segments, epoch)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Dict[str, Any]:
        """The batch of a segment, in fairseq's form."""
        start, end = int(self.starts[index]), int(self.starts[index + 1])
        # fairseq's losses view targets as a vector.
        targets = self._columns[:, start + 1 : end + 1].long().contiguous()
        # A column that is shorter by a token ends with padding in both.
        sources = self._columns[:, start:end].long().masked_fill(targets == self.pad, self.pad)
        if self.shares_targets and index % self.shard[1] != self.shard[0]:
            targets = torch.full_like(targets, self.pad)
        return {
            "id": torch.arange(sources.size(0)),
            "nsentences": sources.size(0),
            "ntokens": int(targets.ne(self.pad).sum()),
            "net_input": {
                "src_tokens": sources,
                "src_lengths": sources.ne(self.pad).sum(1),
                "is_continued": index > 0,
            },
            "target": targets,
        }

    @staticmethod
    def collater(batches: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Each item is a batch already."""
        (batch,) = batches
        return batch


def segment_starts(length: int, segments: Segments, epoch: int) -> np.ndarray:
    """Where the segments of a column begin, and where the last one ends.

    Args:
        length: of the column.
        segments: how it is cut.
        epoch: with varied lengths, each epoch has its own.

    Source: Merity et al. (2018), section 4.1, for varied lengths.
    """
    if not segments.varied:
        return np.append(np.arange(0, length, segments.length), length)
    random = np.random.default_rng((segments.seed, epoch))
    starts = [0]
    while starts[-1] < length:
        mean = segments.length / (2 if random.random() < HALF_PROBABILITY else 1)
        drawn = max(SHORTEST, int(random.normal(mean, LENGTH_STD)))
        starts.append(starts[-1] + min(drawn, segments.length + segments.max_excess))
    starts[-1] = length
    return np.array(starts)
