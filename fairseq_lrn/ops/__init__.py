"""The LRN recurrence as a torch operator; it knows nothing of fairseq."""

from fairseq_lrn.ops.dispatch import Backend, backends
from fairseq_lrn.ops.scan import ACTIVATIONS, lrn_scan

__all__ = ["ACTIVATIONS", "Backend", "backends", "lrn_scan"]
