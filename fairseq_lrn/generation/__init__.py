"""Beam search, length penalties, translating raw text, and export to ONNX."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()
