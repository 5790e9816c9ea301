"""A whole beam search in one call of C++, for the decoders of ``lrn`` and of ``lrn_rnmt``.

With one sentence at a time, a large part of a decoding step would be Python between the operators.
:mod:`fairseq_lrn.generation.beam_search` is the reference, and says what the search does.
"""

from typing import List, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from fairseq_lrn.ops.decoder_step import DecoderStep
from fairseq_lrn.ops.int8_linear import OUT
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
# score_bias: B x S. parameters: those of each layer in the order of LAYER_PARAMETERS, None for an
# absent one. feature: those of the layer over output and context, in the order of MAP_PARAMETERS.
# The other arguments and the results are as above.
LIBRARY.define(
    "rnmt_beam_search(Tensor[] states, Tensor[] memory, Tensor score_bias, Tensor?[] parameters,"
    " Tensor?[] feature, int heads, str activation, float eps, Tensor embedding,"
    " Tensor embed_bias, Tensor output, int vocabulary, int[] symbols, int[] sizes,"
    " float temperature, float unk_penalty, float[] normalisers)"
    " -> (Tensor sentences, Tensor lengths, Tensor totals, Tensor tokens, Tensor scores)"
)
# An affine map with a layer norm before its bias.
MAP_PARAMETERS = ("weight", "gain", "shift", "bias")
# csrc/beam_search/rnmt_beam_search.cpp has the same order.
LAYER_PARAMETERS = (
    *(f"{name}_{part}" for name in ("lower", "query", "upper") for part in MAP_PARAMETERS),
    *("out_weight", "out_bias", "score_vector", "norm_gain", "norm_shift"),
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
    """Beam search with a decoder of ``lrn``. It has no gradients.

    Args:
        step: the layers.
        embedding: embedding matrix, ``V x E``, float32.
        embed_scale: factor of the embeddings.
        norm: layer norm of the features, or None.
        output: weight of the output layer for V tokens, in a format that *step* allows.

    Raises:
        ValueError: *output* is for another number of tokens.
    """

    _operator = "lrn_beam_search"

    def __init__(
        self,
        step: DecoderStep,
        embedding: Tensor,
        embed_scale: float,
        norm: Optional[torch.nn.LayerNorm],
        output: Tensor,
    ):
        _check_output(output, embedding.size(0))
        gain, shift, eps = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
        self._arguments = (
            *(*step.arguments, embedding, embed_scale, gain, shift, eps, output),
            embedding.size(0),
        )

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
            memory: what the decoder reads of each sentence, ``S x B x ...`` each. For ``lrn``, keys
                and values of each layer; for ``lrn_rnmt``, the encoder's output and the keys of
                each layer with attention.
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
            ValueError: *unk_penalty* is below 0: unknown words would be looked for among the most
                probable tokens only.
        """
        if unk_penalty < 0:
            raise ValueError(f"unk_penalty must be at least 0, not {unk_penalty}")
        search = getattr(torch.ops.fairseq_lrn, self._operator)
        sentences, lengths, totals, tokens, scores = search(
            *(states, memory, self._mask(memory, padding_mask), *self._arguments),
            *(symbols, sizes, temperature, unk_penalty, normalisers),
        )
        pieces = lengths.tolist()
        return list(
            map(Hypothesis, sentences.tolist(), tokens.split(pieces), scores.split(pieces), totals)
        )

    def _mask(self, memory: List[Tensor], padding_mask: Optional[Tensor]) -> Optional[Tensor]:
        """The padding in the form that the operator takes."""
        return padding_mask


def _check_output(output: Tensor, tokens: int) -> None:
    """Refuse an output layer for more or fewer tokens than the embedding matrix has."""
    fits = output.size(0) == (-(-tokens // OUT) if output.dtype == torch.int8 else tokens)
    if not fits:
        raise ValueError(f"output must have {tokens} tokens, as the embedding matrix has")


class RNMTBeamSearch(BeamSearch):
    """Beam search with a decoder of ``lrn_rnmt`` whose cells are LRN or oLRN.

    A layer has affine maps: *lower* for its first cell, *query* for its attention, *upper* for its
    second cell, and *out* for its output, which is followed by a residual connection and a norm. A
    layer without *query* takes the context of the layer below. A layer without *upper* has a single
    cell, which reads input and context together. Source: the authors' toolkit (bzhangGo/zero,
    ``models/deepnmt.py``).

    Args:
        layers: parameters of each layer by their names in :data:`LAYER_PARAMETERS`; an absent one
            is None or left out. Weights may be packed, as in :class:`.DecoderStep`.
        feature: parameters of the layer over output and context, ``feature_`` and their names in
            :data:`MAP_PARAMETERS`; empty if there is none.
        heads: number of attention heads.
        activation: ``"tanh"`` or ``"identity"``.
        eps: epsilon of the layer norms.
        masked_score: added to the attention scores of padding.
        embedding: embedding matrix, ``V x E``, float32.
        embed_bias: added to every embedding, ``E``.
        output: weight of the output layer for V tokens.

    Raises:
        ValueError: a layer has an unknown parameter, or *output* is for another number of tokens.
    """

    _operator = "rnmt_beam_search"

    def __init__(
        self,
        layers: Sequence[Mapping[str, Optional[Tensor]]],
        feature: Mapping[str, Optional[Tensor]],
        heads: int,
        activation: str,
        eps: float,
        masked_score: float,
        embedding: Tensor,
        embed_bias: Tensor,
        output: Tensor,
    ):
        for index, layer in enumerate(layers):
            unknown = layer.keys() - set(LAYER_PARAMETERS)
            if unknown:
                raise ValueError(f"layer {index} has unknown parameters: {', '.join(unknown)}")
        _check_output(output, embedding.size(0))
        self._masked_score = masked_score
        self._arguments = (
            [layer.get(name) for layer in layers for name in LAYER_PARAMETERS],
            [feature.get(f"feature_{part}") for part in MAP_PARAMETERS],
            *(heads, activation, eps, embedding, embed_bias, output, embedding.size(0)),
        )

    def _mask(self, memory: List[Tensor], padding_mask: Optional[Tensor]) -> Tensor:
        length, sentences = memory[0].shape[:2]
        score_bias = memory[0].new_zeros(sentences, length)
        return (
            score_bias if padding_mask is None else score_bias + padding_mask * self._masked_score
        )
