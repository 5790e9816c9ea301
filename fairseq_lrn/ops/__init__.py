"""The LRN recurrence and the other fused operators. Nothing in here imports fairseq."""

from fairseq_lrn.ops import cpp_backend  # noqa: F401  (registers itself, before the GPU's)
from fairseq_lrn.ops.additive_attention import additive_attention, has_additive_attention
from fairseq_lrn.ops.beam_search import BeamSearch, RNMTBeamSearch
from fairseq_lrn.ops.checksum import checksums, checksums_of_parts
from fairseq_lrn.ops.cross_entropy import linear_cross_entropy
from fairseq_lrn.ops.decoder_step import DecoderStep, has_decoder_step
from fairseq_lrn.ops.dispatch import Backend, backends
from fairseq_lrn.ops.encoder_pass import EncoderPass
from fairseq_lrn.ops.int8_linear import int8_kernel, int8_linear, quantised
from fairseq_lrn.ops.lrn_scan import ACTIVATIONS, ParallelCounts, lrn_scan, parallel_counts
from fairseq_lrn.ops.top_log_probs import top_log_probs

__all__ = [
    "ACTIVATIONS",
    "Backend",
    "BeamSearch",
    "DecoderStep",
    "EncoderPass",
    "ParallelCounts",
    "RNMTBeamSearch",
    "additive_attention",
    "backends",
    "checksums",
    "checksums_of_parts",
    "has_additive_attention",
    "has_decoder_step",
    "int8_kernel",
    "int8_linear",
    "linear_cross_entropy",
    "lrn_scan",
    "parallel_counts",
    "quantised",
    "top_log_probs",
]
