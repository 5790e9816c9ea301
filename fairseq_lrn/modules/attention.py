"""Attention with several heads: additive, and by dot products."""

import math
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.linear import Linear


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
        self.score_proj = Linear(self.head_size, 1)
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


class DotProductAttention(nn.Module):
    """Multi-head dot-product attention of queries over a memory, as in the transformer.

    It computes what :class:`fairseq.modules.MultiheadAttention` does and has its parameters.
    Sentences are short, so that plain batched products of strided views take less time on a CPU
    than torch's fused attention; and who calls it keeps the projected memory.

    Args:
        embed_dim: width C of queries and output.
        memory_size: width E of the memory.
        num_heads: heads; they divide *embed_dim*.
        dropout: on the attention weights.

    Raises:
        ValueError: the heads do not divide *embed_dim*.

    Source: Vaswani et al. (2017), section 3.2.
    """

    masked_score: torch.jit.Final[float]

    def __init__(self, embed_dim: int, memory_size: int, num_heads: int = 1, dropout: float = 0.0):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads != 0:
            raise ValueError(
                f"the width of the attention ({embed_dim}) must be divisible by the number of "
                f"attention heads ({num_heads})"
            )
        # Added at padding: its exponential is 0, and in half precision too it is a number.
        self.masked_score = -6e4
        self.num_heads = num_heads
        self.head_size = embed_dim // num_heads
        self.q_proj = Linear(embed_dim, embed_dim)
        self.k_proj = Linear(memory_size, embed_dim)
        self.v_proj = Linear(memory_size, embed_dim)
        self.out_proj = Linear(embed_dim, embed_dim)
        self.dropout_module = Dropout(dropout, module_name=self.__class__.__name__)
        # As fairseq: three maps of equal shape begin as one three times as wide.
        gain = 1 / math.sqrt(2) if memory_size == embed_dim else 1.0
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight, gain=1.0 if linear is self.out_proj else gain)
        nn.init.zeros_(self.out_proj.bias)

    def project_memory(self, memory: Tensor) -> Tuple[Tensor, Tensor]:
        """Keys and values ``S x B x C`` of the memory ``S x B x E``."""
        return self.k_proj(memory), self.v_proj(memory)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        memory_padding_mask: Optional[Tensor] = None,
        need_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """
        Args:
            query: ``T x B x C``.
            keys, values: ``S x B x C``, of :meth:`project_memory`.
            memory_padding_mask: ``B x S``, true at padding.
            need_weights: return attention weights.

        Returns:
            output ``T x B x C``, and attention weights ``B x T x S``, averaged over the heads, or
            None.
        """
        time, batch, _ = query.shape
        length = keys.size(0)
        q = self._heads(self.q_proj(query) * self.head_size**-0.5)
        k, v = self._heads(keys).transpose(1, 2), self._heads(values)
        if memory_padding_mask is None:
            scores = torch.bmm(q, k)
        else:
            bias = memory_padding_mask.to(query.dtype).mul(self.masked_score)
            bias = bias.repeat_interleave(self.num_heads, dim=0).unsqueeze(1)
            scores = torch.baddbmm(bias.expand(-1, time, -1), q, k)
        weights = torch.softmax(scores, dim=-1)
        context = torch.bmm(self.dropout_module(weights), v)
        context = context.transpose(0, 1).reshape(time, batch, self.num_heads * self.head_size)
        averaged: Optional[Tensor] = None
        if need_weights:
            averaged = weights.float().view(batch, self.num_heads, time, length).mean(dim=1)
        return self.out_proj(context), averaged

    def _heads(self, x: Tensor) -> Tensor:
        """``N x B x C`` as ``(B*heads) x N x head_size``, without a copy."""
        return x.view(x.size(0), x.size(1) * self.num_heads, self.head_size).transpose(0, 1)


def at_least_single(x: Tensor) -> Tensor:
    """Half precision as float32, in which the scores of padding are finite; others as they are."""
    return x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x
