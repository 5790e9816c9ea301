"""PyTorch modules around the recurrence. They need torch, but not fairseq."""

from fairseq_lrn.modules.attention import AdditiveAttention
from fairseq_lrn.modules.cells import CELLS, build_cell
from fairseq_lrn.modules.conditional import AlignedRecurrence, AttentiveRecurrence
from fairseq_lrn.modules.layers import LRNDecoderLayer, LRNEncoderLayer
from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.modules.rnn import LRN
from fairseq_lrn.modules.stack import RecurrentStack

__all__ = [
    "CELLS",
    "AdditiveAttention",
    "AlignedRecurrence",
    "AttentiveRecurrence",
    "LRN",
    "LRNDecoderLayer",
    "LRNEncoderLayer",
    "RecurrentLayer",
    "RecurrentStack",
    "build_cell",
]
