"""The input of models that read two texts: words, their neighbours, and what the texts share."""

from dataclasses import dataclass, field
from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from fairseq_lrn.models.word_input import WordInput, WordInputConfig, windows


@dataclass
class PairInputConfig(WordInputConfig):
    """Options of all models of two texts."""

    match_feature: bool = field(
        default=False,
        metadata={"help": "tell the model of each word whether the other text has it, too"},
    )


class PairInput(WordInput):
    """Vectors of the words of one of two texts.

    Args:
        cfg: options.
        dictionary: dictionary of the words of both texts.
        characters: dictionary of the characters; None if the data have none.

    Attributes:
        width: width C of the output.

    Raises:
        InputError, ValueError: see :class:`~fairseq_lrn.models.word_input.WordInput`.
    """

    def __init__(self, cfg: PairInputConfig, dictionary: Any, characters: Optional[Any]):
        super().__init__(cfg, dictionary, characters)
        self.match_feature, self.window = cfg.match_feature, cfg.input_window
        self.width = self.window * (self.width + cfg.match_feature)

    def forward(
        self, tokens: Tensor, characters: Optional[Tensor] = None, other: Optional[Tensor] = None
    ) -> Tensor:
        """
        Args:
            tokens: words of the text, ``B x T``.
            characters: characters of each word, ``B x T x L``.
            other: words of the other text, ``B x S``; only the feature of matches reads them.

        Returns:
            ``T x B x C``, with zeros at padding.
        """
        x = super().forward(tokens, characters)
        if self.match_feature:
            assert other is not None
            match = match_feature(tokens, other, (self.padding_idx, self.unknown))
            # B x T to T x B x 1
            x = torch.cat([x, match.t().unsqueeze(-1).to(x.dtype)], dim=-1)
        return windows(x, self.window) if self.window > 1 else x


def match_feature(tokens: Tensor, other: Tensor, ignored: Tuple[int, ...]) -> Tensor:
    """Whether each word of a text occurs in another text (Chen et al., 2017, "exact match").

    Args:
        tokens: words of the text, ``B x T``.
        other: words of the other text, ``B x S``.
        ignored: words that match nothing: padding and unknown words.

    Returns:
        ``B x T``, true at words that occur.
    """
    occurs = (tokens.unsqueeze(2) == other.unsqueeze(1)).any(-1)  # B x T x S to B x T
    for word in ignored:
        occurs = occurs & tokens.ne(word)
    return occurs
