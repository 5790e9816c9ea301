"""Text in and out: reading, tokenisation, subwords, and data for training."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()
