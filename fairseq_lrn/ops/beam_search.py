"""A whole beam search in one call of C++, for decoders that :class:`.DecoderStep` computes.

With one sentence at a time, a large part of a decoding step would be Python between the operators.
:mod:`fairseq_lrn.generation.beam_search` is the reference, and says what the search does.
"""

from typing import List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from fairseq_lrn.ops.decoder_step import DecoderStep
from fairseq_lrn.ops.library import LIBRARY

# From states to masked_score, the arguments are those of lrn_decoder_step. output: a weight as in
# lrn_decoder_step, for `vocabulary` tokens. symbols: bos, eos, pad, unk. sizes: beam, min_len and
# the longest hypothesis without EOS. normalisers: divide the score, by the number of tokens.
# Results: for each finished hypothesis its sentence, its number of tokens and its score, then the
# tokens of all hypotheses and the log-probability of each token.
LIBRARY.define(
    "lrn_beam_search(Tensor[] states, Tensor[] memory, Tensor? padding_mask,"
    " Tensor?[] parameters, int heads, str activation, bool normalize_before, float eps,"
    " float gate_eps, float masked_score, Tensor embedding, float embed_scale, Tensor? norm_gain,"
    " Tensor? norm_shift, float norm_eps, Tensor output, int vocabulary, int[] symbols,"
    " int[] sizes, float temperature, float unk_penalty, float[] normalisers)"
    " -> (Tensor sentences, Tensor lengths, Tensor totals, Tensor tokens, Tensor scores)"
)


class Hypothesis(NamedTuple):
    """A finished hypothesis.

    Attributes:
        sentence: index of its sentence.
        tokens: its n tokens, EOS included, ``n``.
        scores: log-probability of each token, ``n``.
        total: sum of the scores, divided by the normaliser for n tokens; a scalar.
    """

    sentence: int
    tokens: Tensor
    scores: Tensor
    total: Tensor


class BeamSearch:
    """Beam search with a decoder whose steps are :class:`.DecoderStep`. It has no gradients.

    Args:
        step: the layers.
        embedding: embedding matrix, ``V x E``, float32.
        embed_scale: factor of the embeddings.
        norm: layer norm of the features, or None.
        output: weight of the output layer for V tokens, in a format that *step* allows.
    """

    def __init__(
        self,
        step: DecoderStep,
        embedding: Tensor,
        embed_scale: float,
        norm: Optional[torch.nn.LayerNorm],
        output: Tensor,
    ):
        self._step = step
        gain, shift, eps = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
        self._arguments = (*(embedding, embed_scale, gain, shift, eps, output, embedding.size(0)),)

    def __call__(
        self,
        states: List[Tensor],
        memory: List[Tensor],
        padding_mask: Optional[Tensor],
        symbols: Sequence[int],
        sizes: Sequence[int],
        temperature: float,
        unk_penalty: float,
        normalisers: Sequence[float],
    ) -> List[Hypothesis]:
        """Search the translations of B sentences.

        Args:
            states: initial state of each layer, ``B x H``.
            memory: keys and values of each layer, ``S x B x C``.
            padding_mask: ``B x S``, true at padding of the source.
            symbols: indices of the first token, EOS, padding and the unknown word.
            sizes: width of the beam, smallest and largest number of tokens without EOS.
            temperature: divides the logits.
            unk_penalty: subtracted from the score of an unknown word.
            normalisers: divisors of the score, for 0 to ``sizes[2] + 1`` tokens.

        Returns:
            the hypotheses in the order in which they were finished. There may be none for a
            sentence whose probabilities are not finite.

        Raises:
            RuntimeError: shapes do not fit, or a tensor has an unsuitable type.
        """
        sentences, lengths, totals, tokens, scores = torch.ops.fairseq_lrn.lrn_beam_search(
            states, memory, padding_mask, *self._step.arguments, *self._arguments, symbols, sizes,
            temperature, unk_penalty, normalisers,
        )  # fmt: skip
        pieces = lengths.tolist()
        return list(
            map(Hypothesis, sentences.tolist(), tokens.split(pieces), scores.split(pieces), totals)
        )
