"""Embeddings of words, some of which may have pre-trained vectors that stay as they are."""

import logging
from typing import Any, Dict, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

logger = logging.getLogger(__name__)


class WordEmbedding(nn.Module):
    """Embeddings of words.

    With *freeze*, the pre-trained vectors are a buffer: they are saved with the model, but they are
    no parameters, so the optimiser spends no time on them. The other words are trained.

    A state dict decides which words have fixed vectors. A module without any can load the state
    dict of one with fixed vectors, so a trained model does not need the file of vectors. If the
    module has vectors, and the state dict decides otherwise, a warning says so.

    Args:
        num_words: number of words V.
        width: width D of the embeddings.
        padding_idx: the word whose embedding is zero and stays zero.
        has_vector: whether each word has a pre-trained vector, ``V``; None: none has.
        vectors: these vectors in the order of the words, ``N x D``.
        freeze: do not train them.
        first_fixed: with *freeze*, the words before this one are trained all the same.

    Raises:
        ValueError: *has_vector* and *vectors* do not fit.
    """

    def __init__(
        self,
        num_words: int,
        width: int,
        padding_idx: int,
        has_vector: Optional[Tensor] = None,
        vectors: Optional[Tensor] = None,
        freeze: bool = False,
        first_fixed: int = 0,
    ):
        super().__init__()
        self.num_words, self.width, self.padding_idx = num_words, width, padding_idx
        self.has_vectors = vectors is not None
        if has_vector is None or vectors is None:
            has_vector, vectors = torch.zeros(num_words, dtype=torch.bool), torch.zeros(0, width)
        if has_vector.shape != (num_words,) or vectors.shape != (int(has_vector.sum()), width):
            raise ValueError(
                f"vectors {tuple(vectors.shape)} do not fit {int(has_vector.sum())} of {num_words} "
                f"words and the width {width}"
            )
        weight = torch.empty(num_words, width)
        nn.init.normal_(weight, std=width**-0.5)
        weight[has_vector] = vectors.to(weight.dtype)
        weight[padding_idx] = 0.0
        is_fixed = has_vector.clone() if freeze else torch.zeros_like(has_vector)
        is_fixed[:first_fixed] = False
        is_fixed[padding_idx] = False
        self.register_buffer("is_fixed", is_fixed)
        self.register_buffer("fixed", weight[is_fixed])
        self.weight = nn.Parameter(weight[~is_fixed])
        self._number_rows()

    def _number_rows(self) -> None:
        """The row of each word, in the matrix of fixed or of trained vectors."""
        is_fixed: Tensor = self.is_fixed
        rows = torch.where(is_fixed, is_fixed.cumsum(0), (~is_fixed).cumsum(0)) - 1
        self.register_buffer("rows", rows, persistent=False)
        self.padding_row = int(rows[self.padding_idx])  # once, since this waits for a GPU
        self.any_fixed = bool(is_fixed.any())

    def extra_repr(self) -> str:
        return f"{self.num_words}, {self.width}, fixed={len(self.fixed)}"

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings ``... x D`` of the words ``...``."""
        # The padding row gets no gradient, so it stays zero.
        padding = self.padding_row
        if not self.any_fixed:  # the row of a word is its number
            return F.embedding(tokens, self.weight, padding_idx=padding)
        rows = self.rows[tokens]
        is_fixed = self.is_fixed[tokens]
        trained = F.embedding(rows.masked_fill(is_fixed, padding), self.weight, padding_idx=padding)
        # Where a word is trained, the index is that of any fixed row.
        fixed = F.embedding(rows.masked_fill(~is_fixed, 0), self.fixed)
        return torch.where(is_fixed.unsqueeze(-1), fixed, trained)

    def _load_from_state_dict(
        self, state_dict: Dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        is_fixed = state_dict.get(f"{prefix}is_fixed")
        if is_fixed is not None and is_fixed.shape == self.is_fixed.shape:
            if self.has_vectors and not torch.equal(self.is_fixed.cpu(), is_fixed.cpu()):
                logger.warning(
                    "the checkpoint decides which word vectors are trained, and --word-vectors, "
                    "--tuned-word-vectors and --freeze-word-vectors have no effect on it: start a "
                    "new training run to change them"
                )
            self.is_fixed.copy_(is_fixed)
            number = int(is_fixed.sum())
            self.fixed = self.fixed.new_empty(number, self.width)
            if len(self.weight) != self.num_words - number:
                # The same parameter: a wrapper for several processes may already refer to it.
                self.weight.data = self.weight.new_empty(self.num_words - number, self.width)
            self._number_rows()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
