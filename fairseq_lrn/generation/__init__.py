"""Beam search, length penalties, translation of raw text, and export to ONNX."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()
