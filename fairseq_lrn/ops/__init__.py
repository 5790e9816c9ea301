"""The LRN recurrence as a torch function. Needs torch only."""

from fairseq_lrn.ops.scan import ACTIVATIONS, lrn_scan

__all__ = ["ACTIVATIONS", "lrn_scan"]
