"""The input of models that read two texts: words, their neighbours, and what the texts share."""

from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from fairseq_lrn.models.word_input import WordInput, WordInputConfig, windows
from fairseq_lrn.modules.characters import row_keys
from fairseq_lrn.modules.layers import xavier_linear
from fairseq_lrn.modules.linear import Linear


@dataclass
class PairInputConfig(WordInputConfig):
    """Options of all models of two texts."""

    match_feature: bool = field(
        default=False,
        metadata={"help": "add a feature to each word: whether the other text has it, too"},
    )
    align_words: bool = field(
        default=False,
        metadata={"help": "add to each word the most similar words of the other text"},
    )
    align_product: bool = field(
        default=False,
        metadata={"help": "with --align-words: add the product of each word and those words"},
    )

    def check(self) -> None:
        """See :meth:`WordInputConfig.check`."""
        super().check()
        if self.align_product and not self.align_words:
            raise ValueError(
                "--align-product has no effect without --align-words: give both or none"
            )


class PairInput(WordInput):
    """Vectors of the words of two texts.

    Args:
        cfg: options.
        dictionary: dictionary of the words of both texts.
        characters: dictionary of the characters; None if the data have none.

    Attributes:
        width: width C of the output.

    Raises:
        InputError, ValueError: see :class:`~fairseq_lrn.models.word_input.WordInput`.

    Source: Chen et al. (2017), "Reading Wikipedia to answer open-domain questions", for the
    features "exact match" and "aligned question embedding"; Chen et al. (2017), "Enhanced LSTM for
    natural language inference", for the product.
    """

    def __init__(self, cfg: PairInputConfig, dictionary: Any, characters: Optional[Any]):
        super().__init__(cfg, dictionary, characters)
        self.match_feature, self.window = cfg.match_feature, cfg.input_window
        self.align_product = cfg.align_product
        self.alignment: Optional[Linear] = None
        words = self.width
        if cfg.align_words:
            self.alignment = xavier_linear(words, words)
            self.width += words * (1 + cfg.align_product)
        self.width = self.window * (self.width + cfg.match_feature)

    def forward(  # type: ignore[override]
        self,
        tokens: Tensor,
        other: Tensor,
        characters: Optional[Tensor] = None,
        other_characters: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """
        Args:
            tokens, other: words of the two texts, ``B x T`` and ``B x S``.
            characters, other_characters: characters of each word, ``B x T x L`` and ``B x S x L``.

        Returns:
            ``T x B x C`` and ``S x B x C``. At padding there are zeros, beside which a window may
            have words.
        """
        x, y = super().forward(tokens, characters), super().forward(other, other_characters)
        parts: Tuple[List[Tensor], List[Tensor]] = ([x], [y])
        if self.alignment is not None:
            keys = [torch.relu(self.alignment(words)).transpose(0, 1) for words in (x, y)]
            # Not in bfloat16, whose steps are large where the largest scores are.
            with torch.autocast(x.device.type, enabled=False):
                # B x T x C, B x C x S to B x T x S
                scores = keys[0].float() @ keys[1].float().transpose(1, 2)
            parts[0].append(self._aligned(scores, tokens, other, y))
            parts[1].append(self._aligned(scores.transpose(1, 2), other, tokens, x))
            if self.align_product:
                for part in parts:
                    part.append(part[0] * part[1])
        if self.match_feature:
            forms = self._forms(tokens, characters), self._forms(other, other_characters)
            for part, match in zip(parts, match_features(*forms, self.padding_idx)):
                part.append(match.t().unsqueeze(-1).to(x.dtype))  # B x T to T x B x 1
        x, y = (torch.cat(part, dim=-1) for part in parts)
        if self.window > 1:
            x, y = windows(x, self.window), windows(y, self.window)
        return x, y

    def _forms(self, tokens: Tensor, characters: Optional[Tensor]) -> Tensor:
        """Numbers that equal words share, ``B x T``; those of unknown words are negative.

        Unknown words are told apart by their characters. Without characters they match nothing.
        """
        is_unknown = tokens.eq(self.unknown)
        if not self.reads_characters or characters is None:
            return tokens.masked_fill(is_unknown, self.padding_idx)
        keys = row_keys(characters.masked_fill(characters.eq(self.characters.padding_idx), 0))
        return torch.where(is_unknown, keys | torch.iinfo(keys.dtype).min, tokens)

    def _aligned(self, scores: Tensor, tokens: Tensor, other: Tensor, words: Tensor) -> Tensor:
        """The mean ``T x B x C`` of the other text's *words* ``S x B x C`` for each token.

        Args:
            scores: similarities, ``B x T x S``.
            tokens, other: ``B x T`` and ``B x S``, of which the padding is read.
        """
        weights = scores.masked_fill(other.eq(self.padding_idx).unsqueeze(1), -1e9)
        weights = weights.softmax(-1).masked_fill(tokens.eq(self.padding_idx).unsqueeze(2), 0.0)
        return (weights.to(words.dtype) @ words.transpose(0, 1)).transpose(0, 1)  # to T x B x C


def match_features(tokens: Tensor, other: Tensor, padding_idx: int) -> Tuple[Tensor, Tensor]:
    """Whether each word of two texts occurs in the other text (Chen et al., 2017, "exact match").

    Args:
        tokens, other: words of the texts, ``B x T`` and ``B x S``.
        padding_idx: a number that matches nothing.

    Returns:
        ``B x T`` and ``B x S``, true at words that occur.
    """
    is_match = tokens.unsqueeze(2) == other.unsqueeze(1)  # B x T x S
    is_match &= tokens.ne(padding_idx).unsqueeze(2)
    return is_match.any(2), is_match.any(1)
