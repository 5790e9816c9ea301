"""Additive attention with several heads."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine


class AdditiveAttention(nn.Module):
    """Additive (Bahdanau) attention with heads: what the authors' conditional layers attend with.

    Query and keys are cut into heads; all heads share the vector that scores tanh(query + key).
    The values are the memory itself, cut likewise: there is no value and no output map, no
    scaling, no dropout on the weights.

    Args:
        query_size: width H of the query.
        memory_size: width M of the memory and of the context.
        num_heads: heads; they divide *memory_size*.
        norm: normalise the projections of query and memory, see
            :class:`~fairseq_lrn.modules.affine.Affine`.

    Source: the authors' toolkit (bzhangGo/zero, ``func.py: additive_attention``,
    ``rnns/rnn.py: cond_rnn``).
    """

    masked_score: torch.jit.Final[float]

    def __init__(
        self, query_size: int, memory_size: int, num_heads: int = 1, norm: Optional[str] = None
    ):
        super().__init__()
        if num_heads < 1 or memory_size % num_heads != 0:
            raise ValueError(
                f"the width of the memory ({memory_size}) must be divisible by the number of "
                f"attention heads ({num_heads})"
            )
        self.masked_score = -1e8  # added to the scores of padding, as by the authors
        self.num_heads = num_heads
        self.head_size = memory_size // num_heads
        self.key_proj = Affine(memory_size, memory_size, bias=False, norm=norm)
        self.query_proj = Affine(query_size, memory_size, norm=norm)
        self.score_proj = nn.Linear(self.head_size, 1)
        nn.init.xavier_uniform_(self.score_proj.weight)
        nn.init.zeros_(self.score_proj.bias)

    def keys(self, memory: Tensor) -> Tensor:
        """Keys ``B x S x M`` of the memory ``S x B x M``: they do not depend on the query."""
        return self.key_proj(memory).transpose(0, 1).contiguous()

    def score_bias(self, keys: Tensor, memory_padding_mask: Optional[Tensor]) -> Tensor:
        """What is added to every score, ``B x S x 1``: a scalar, and a large negative at padding.

        Args:
            keys: ``B x S x M``.
            memory_padding_mask: ``B x S``, true at padding.
        """
        bias = at_least_single(self.score_proj.bias).expand(keys.size(0), keys.size(1))
        if memory_padding_mask is not None:
            bias = bias + memory_padding_mask.to(bias.dtype) * self.masked_score
        return bias.unsqueeze(-1)

    def weights(self, query: Tensor, keys: Tensor, score_bias: Tensor) -> Tensor:
        """Attention weights ``B x S x heads`` of the query ``B x H``."""
        shape = (keys.size(0), keys.size(1), self.num_heads, self.head_size)
        hidden = torch.tanh(keys + self.query_proj(query).unsqueeze(1)).view(shape)
        scores = torch.matmul(hidden, self.score_proj.weight[0])
        return torch.softmax(at_least_single(scores) + score_bias, dim=1).to(keys.dtype)

    def read(self, weights: Tensor, memory: Tensor) -> Tensor:
        """Contexts: the heads' weighted sums of their blocks of the memory.

        Args:
            weights: ``N x B x S x heads``, for N queries.
            memory: ``S x B x M``.

        Returns:
            ``N x B x M``.
        """
        values = memory.view(memory.size(0), memory.size(1), self.num_heads, self.head_size)
        context = torch.matmul(weights.permute(1, 3, 0, 2), values.permute(1, 2, 0, 3))
        return context.permute(2, 0, 1, 3).flatten(2)

    def forward(
        self, query: Tensor, memory: Tensor, memory_padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """
        Args:
            query: ``B x H``.
            memory: ``S x B x M``.
            memory_padding_mask: ``B x S``, true at padding.

        Returns:
            context ``B x M`` and attention weights ``B x S x heads``.
        """
        keys = self.keys(memory)
        weights = self.weights(query, keys, self.score_bias(keys, memory_padding_mask))
        return self.read(weights.unsqueeze(0), memory)[0], weights


def at_least_single(x: Tensor) -> Tensor:
    """Half precision as float32, in which the scores of padding are finite; others as they are."""
    return x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x
