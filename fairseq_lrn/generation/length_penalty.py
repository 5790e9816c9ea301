"""The length penalty of GNMT, which the paper uses."""

import math

from fairseq.sequence_generator import SequenceGeneratorWithAlignment

from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator


class GNMTLengthPenalty:
    """Divides a score by ((5 + n) / 6)^len_penalty, for n tokens, EOS included.

    Source: Wu et al. (2016), "Google's Neural Machine Translation System", equation 14, without
    the coverage penalty; the authors' toolkit (bzhangGo/zero, ``search.py``).
    """

    def penalty(self, length: int) -> float:
        """Length normaliser for *length* tokens, EOS included."""
        return ((5 + length) / 6) ** self.len_penalty

    def finalize_hypos(self, step: int, *args, **kwargs):
        """As in fairseq, which divides by n^len_penalty: set the exponent with the same effect."""
        alpha = self.len_penalty
        length = step + 1
        if length > 1:  # for one token, both normalisers are 1
            self.len_penalty = math.log(self.penalty(length)) / math.log(length)
        try:
            return super().finalize_hypos(step, *args, **kwargs)
        finally:
            self.len_penalty = alpha


class GNMTSequenceGenerator(GNMTLengthPenalty, RecurrentSequenceGenerator):
    """Beam search with the length penalty of GNMT."""

    def normaliser(self, length: int) -> float:
        """See :class:`RecurrentSequenceGenerator`."""
        return self.penalty(length) if self.normalize_scores else 1.0


class GNMTSequenceGeneratorWithAlignment(GNMTLengthPenalty, SequenceGeneratorWithAlignment):
    """Beam search with the length penalty of GNMT, for ``--print-alignment``."""
