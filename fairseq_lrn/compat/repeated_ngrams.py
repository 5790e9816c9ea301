"""``--no-repeat-ngram-size`` has no effect on a CPU.

fairseq (0.12.2, 0.12.3) looks for the last tokens of a hypothesis at the end of a buffer, which is
padding until the buffer is full. So it forbids nothing. With a size of 1 it would also forbid the
end of the sentence, as each hypothesis begins with that token.

The patch gives it the tokens so far. Its extension for GPUs, if it was built, is not affected.
"""

import math

from fairseq_lrn.compat.patching import patch


def patch_repeated_ngrams() -> None:
    """Let fairseq forbid repeated n-grams on every device."""
    from fairseq.ngram_repeat_block import NGramRepeatBlock

    def build(original):
        def _no_repeat_ngram(self, tokens, lprobs, bsz, beam_size, step):
            known = tokens[:, : step + 1]  # bsz * beam_size x step + 1
            if self.no_repeat_ngram_size > 1:
                return original(self, known, lprobs, bsz, beam_size, step)
            return lprobs.scatter_(1, known[:, 1:], -math.inf)

        return _no_repeat_ngram

    patch(NGramRepeatBlock, "_no_repeat_ngram", build)
