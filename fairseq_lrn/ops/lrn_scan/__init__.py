"""The operator of the LRN recurrence: interface, contract, reference, autograd, GPU kernels."""

from fairseq_lrn.ops.lrn_scan import autograd, triton_backend  # noqa: F401  (they register)
from fairseq_lrn.ops.lrn_scan.contract import ACTIVATIONS
from fairseq_lrn.ops.lrn_scan.interface import lrn_scan, scan_directions
from fairseq_lrn.ops.lrn_scan.parallel import ParallelCounts, parallel_counts

__all__ = ["ACTIVATIONS", "ParallelCounts", "lrn_scan", "parallel_counts", "scan_directions"]
