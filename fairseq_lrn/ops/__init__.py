"""The LRN recurrence as a torch operator, and what else is fused; nothing here knows fairseq."""

from fairseq_lrn.ops.cross_entropy import linear_cross_entropy
from fairseq_lrn.ops.decoder_step import has_decoder_step, lrn_decoder_step
from fairseq_lrn.ops.dispatch import Backend, backends
from fairseq_lrn.ops.int8_linear import has_int8_tiles, int8_linear, quantised
from fairseq_lrn.ops.lrn_scan.interface import ACTIVATIONS, lrn_scan
from fairseq_lrn.ops.top_log_probs import top_log_probs

__all__ = [
    "ACTIVATIONS",
    "Backend",
    "backends",
    "has_decoder_step",
    "has_int8_tiles",
    "int8_linear",
    "linear_cross_entropy",
    "lrn_decoder_step",
    "lrn_scan",
    "quantised",
    "top_log_probs",
]
