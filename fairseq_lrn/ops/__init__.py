"""The LRN recurrence as a torch operator, and what else is fused; nothing here knows fairseq."""

from fairseq_lrn.ops.cross_entropy import linear_cross_entropy
from fairseq_lrn.ops.dispatch import Backend, backends
from fairseq_lrn.ops.scan import ACTIVATIONS, lrn_scan

__all__ = ["ACTIVATIONS", "Backend", "backends", "linear_cross_entropy", "lrn_scan"]
