"""Modules on top of the recurrence."""

from fairseq_lrn.modules.layers import LRNDecoderLayer, LRNEncoderLayer
from fairseq_lrn.modules.lrn import LRN, LRNLayer

__all__ = ["LRN", "LRNDecoderLayer", "LRNEncoderLayer", "LRNLayer"]
