"""Pooling: one vector for a sequence of vectors."""

from typing import Dict, Optional, Tuple, Type

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout


class Pooling(nn.Module):
    """Pooling of sequences, whose padding may be anywhere.

    A sequence that is all padding becomes a vector of zeros.

    Args:
        input_size: width C of the input.
        dropout: dropout probability of the input.
        locked_dropout: drop the same elements at every position of a sequence.
    """

    def __init__(self, input_size: int, dropout: float = 0.0, locked_dropout: bool = False):
        super().__init__()
        self.input_size = input_size
        self.dropout = Dropout(dropout, locked_dropout, self.__class__.__name__)

    def forward(
        self, x: Tensor, padding_mask: Optional[Tensor] = None, query: Optional[Tensor] = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """
        Args:
            x: input, ``T x B x C``.
            padding_mask: ``T x B``, true at padding.
            query: what is looked for, ``B x Q``; only attentive pooling uses it.

        Returns:
            the pooled vectors ``B x C``, and the weight of each position ``B x T``, or None.
        """
        raise NotImplementedError


class AttentivePooling(Pooling):
    """The sum of the input, weighted by additive attention.

    Args:
        input_size: width C of the input.
        hidden_size: width of the hidden layer.
        query_size: width Q of the query; None: there is no query.
        dropout: dropout probability of the input and of the query.
        locked_dropout: see :class:`Pooling`.
        drops_values: whether the input is also dropped in the sum, and not in the weights alone.

    Source: the authors' release (bzhangGo/lrn, ``doc``, ``nli`` and ``rc``).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        query_size: Optional[int] = None,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        drops_values: bool = True,
    ):
        super().__init__(input_size, dropout, locked_dropout)
        self.drops_values = drops_values
        self.input_map = Affine(input_size, hidden_size)
        self.query_map = None if query_size is None else Affine(query_size, hidden_size)
        self.score = Affine(hidden_size, 1, bias=False)

    def forward(
        self, x: Tensor, padding_mask: Optional[Tensor] = None, query: Optional[Tensor] = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """See :class:`Pooling`.

        Raises:
            ValueError: *query* is missing, and the layer was built with *query_size*.
        """
        dropped = self.dropout(x)
        hidden = self.input_map(dropped)
        if self.query_map is not None:
            if query is None:
                raise ValueError("query is missing: this pooling was built with query_size")
            if self.dropout.is_active():  # another mask at each position, unless it is locked
                query = self.dropout(query.expand(len(x), *query.shape))
            hidden = hidden + self.query_map(query)
        scores = self.score(torch.tanh(hidden)).squeeze(-1).float()  # T x B x 1 to T x B
        if padding_mask is None:
            weights = torch.softmax(scores, 0)
        else:
            # A finite number, so that a sequence that is all padding has no nan.
            weights = torch.softmax(scores.masked_fill(padding_mask, -1e9), 0)
            weights = weights.masked_fill(padding_mask, 0.0)
        weights = weights.t().to(x.dtype)  # T x B to B x T
        x = dropped if self.drops_values else x
        # (B x 1 x T) (B x T x C) to B x C
        return torch.bmm(weights.unsqueeze(1), x.transpose(0, 1)).squeeze(1), weights


class MeanPooling(Pooling):
    """The mean of the input."""

    def forward(
        self, x: Tensor, padding_mask: Optional[Tensor] = None, query: Optional[Tensor] = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """See :class:`Pooling`."""
        x = self.dropout(x)
        is_real = x.new_ones(x.shape[:2]) if padding_mask is None else (~padding_mask).to(x.dtype)
        weights = is_real / is_real.sum(0).clamp(min=1.0)  # T x B
        return (weights.unsqueeze(-1) * x).sum(0), weights.t()  # T x B to B x T


class MaxPooling(Pooling):
    """The largest value of each element."""

    def forward(
        self, x: Tensor, padding_mask: Optional[Tensor] = None, query: Optional[Tensor] = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """See :class:`Pooling`."""
        x = self.dropout(x)
        if len(x) == 0:
            return x.sum(0), None
        if padding_mask is None:
            return x.amax(0), None
        largest = x.masked_fill(padding_mask.unsqueeze(-1), -torch.inf).amax(0)
        return largest.masked_fill(padding_mask.all(0).unsqueeze(-1), 0.0), None


POOLINGS: Dict[str, Type[Pooling]] = {
    "attention": AttentivePooling,
    "mean": MeanPooling,
    "max": MaxPooling,
}


def build_pooling(
    kind: str,
    input_size: int,
    hidden_size: int,
    query_size: Optional[int] = None,
    dropout: float = 0.0,
    locked_dropout: bool = False,
) -> Pooling:
    """Build a pooling.

    Args:
        kind: a name in :data:`POOLINGS`.
        input_size, dropout, locked_dropout: see :class:`Pooling`.
        hidden_size, query_size: of :class:`AttentivePooling`.

    Raises:
        ValueError: *kind* is unknown.
    """
    if kind not in POOLINGS:
        raise ValueError(f"pooling must be one of {tuple(POOLINGS)}, not {kind!r}")
    if kind == "attention":
        return AttentivePooling(input_size, hidden_size, query_size, dropout, locked_dropout)
    return POOLINGS[kind](input_size, dropout, locked_dropout)
