"""A vector for each word, from its characters."""

from typing import Any, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.recurrence import RecurrentLayer

KINDS = ("rnn", "max")
MULTIPLIER = 6364136223846793005  # Knuth's, of linear congruential generators


class CharacterEncoder(nn.Module):
    """Vectors of words from their characters.

    Args:
        num_characters: number of characters.
        embed_dim: width E of their embeddings.
        hidden_size: state size H of the recurrence, for the kind ``rnn``.
        kind: ``rnn``: the final states of a bidirectional recurrence over the characters, of width
            2H. ``max``: the largest value of each element of the embeddings, then an affine map, of
            width E. The authors' maximum takes the zeros of padding into account; this one does
            not, so that it does not depend on the other words.
        padding_idx: the character that fills the words; a word without any other has zeros.
        dropout: dropout probability of the embeddings.
        **options: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.

    Attributes:
        width: width C of the vectors.

    Raises:
        ValueError: *kind* is unknown.

    Source: the authors' release (bzhangGo/lrn, ``ner``, ``doc`` and ``nli``).
    """

    def __init__(
        self,
        num_characters: int,
        embed_dim: int,
        hidden_size: int,
        kind: str,
        padding_idx: int,
        dropout: float = 0.0,
        **options: Any,
    ):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
        self.kind, self.padding_idx, self.hidden_size = kind, padding_idx, hidden_size
        self.embedding = nn.Embedding(num_characters, embed_dim, padding_idx)
        nn.init.normal_(self.embedding.weight, std=embed_dim**-0.5)
        nn.init.zeros_(self.embedding.weight[padding_idx])
        self.dropout = Dropout(dropout, module_name=self.__class__.__name__)
        if kind == "rnn":
            self.width = 2 * hidden_size
            self.recurrence = RecurrentLayer(
                input_size=embed_dim, hidden_size=hidden_size, bidirectional=True, **options
            )
        else:
            self.width = embed_dim
            self.map = Affine(embed_dim, embed_dim)

    def forward(self, characters: Tensor) -> Tensor:
        """Vectors ``T x B x C`` of the words with the characters ``T x B x L``."""
        is_word = characters.ne(self.padding_idx).any(-1)  # T x B
        words = characters[is_word]  # W x L
        vectors = self.embedding.weight.new_zeros(*is_word.shape, self.width)
        if len(words) == 0:
            return vectors
        # In bfloat16, oneDNN would compile kernels for each batch's number of words, for products
        # that are too small to gain from it.
        with torch.autocast(characters.device.type, enabled=False):
            # Equal words have equal vectors. The maximum is faster than the search for equal words.
            if self.kind == "rnn" and not self.dropout.is_active():
                words, inverse = unique_rows(words)
                encoded = self._encode(words)[inverse]
            else:
                encoded = self._encode(words)
        return vectors.to(encoded.dtype).index_put((is_word,), encoded)

    def _encode(self, words: Tensor) -> Tensor:
        """Vectors ``W x C`` of the words ``W x L``, each of which has a character."""
        is_used = words.ne(self.padding_idx).any(0)
        words = words[:, : int(is_used.nonzero()[-1]) + 1]
        x = self.dropout(self.embedding(words.t()))  # W x L to L x W x E
        padding = words.t().eq(self.padding_idx)
        if self.kind == "rnn":
            _, states = self.recurrence(x, self.recurrence.initial_state(x), padding)
            states = states[..., : self.hidden_size]
            return states.transpose(0, 1).flatten(1)  # 2 x W x H to W x 2H
        return self.map(x.masked_fill(padding.unsqueeze(-1), -torch.inf).amax(0))


def unique_rows(rows: Tensor) -> Tuple[Tensor, Tensor]:
    """The different rows of a matrix of whole numbers, and the place of each row among them.

    It does what ``torch.unique(rows, dim=0, return_inverse=True)`` does, in another order.
    ``torch.unique`` compares one pair of rows at a time, which is slow. Here, rows are told apart
    by a number of 64 bits.

    Args:
        rows: ``W x L``.

    Returns:
        ``V x L``, and ``W``.
    """
    unique_keys, inverse = torch.unique(row_keys(rows), return_inverse=True)
    places = torch.arange(len(rows), device=rows.device)
    row_of_key = torch.empty_like(unique_keys).scatter_(0, inverse, places)  # any of equal rows
    unique = rows[row_of_key]
    if not torch.equal(unique[inverse], rows):  # two rows with the same number
        return torch.unique(rows, dim=0, return_inverse=True)
    return unique, inverse


def row_keys(rows: Tensor) -> Tensor:
    """A number of 64 bits for each row; equal rows have the same one, and others hardly ever.

    Args:
        rows: whole numbers, ``... x L``. Zeros at the end of a row do not change its number.

    Returns:
        ``...``.
    """
    powers = [pow(MULTIPLIER, place + 1, 2**64) for place in range(rows.size(-1))]
    signed = [power - 2**64 if power >= 2**63 else power for power in powers]
    return (rows * torch.tensor(signed, device=rows.device)).sum(-1)
