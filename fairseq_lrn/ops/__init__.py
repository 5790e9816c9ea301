"""The LRN recurrence as a torch function; it knows nothing of fairseq."""

from fairseq_lrn.ops.scan import ACTIVATIONS, lrn_scan

__all__ = ["ACTIVATIONS", "lrn_scan"]
