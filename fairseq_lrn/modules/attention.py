"""Multi-head attention: additive attention and dot-product attention."""

import math
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.ops import additive_attention, has_additive_attention
from fairseq_lrn.ops.precision import is_half


class AdditiveAttention(nn.Module):
    """Multi-head additive (Bahdanau) attention, as in the authors' conditional recurrence.

    Query and keys are split into heads. All heads score tanh(query + key) with the same vector.
    The values are the memory itself, split into heads in the same way. There is no value
    projection, no output projection, no scaling of the scores, and no dropout of the weights.

    Args:
        query_size: width H of the query.
        memory_size: width M of the memory and of the context.
        num_heads: number of heads; must divide *memory_size*.
        norm: normalisation of the projections of query and memory, see
            :class:`~fairseq_lrn.modules.affine.Affine`.

    Raises:
        ValueError: *num_heads* does not divide *memory_size*.

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
        self.masked_score = -1e8  # added to the scores of padding; the authors' value
        self.num_heads = num_heads
        self.head_size = memory_size // num_heads
        self.key_proj = Affine(memory_size, memory_size, bias=False, norm=norm)
        self.query_proj = Affine(query_size, memory_size, norm=norm)
        self.score_proj = Linear(self.head_size, 1)
        nn.init.xavier_uniform_(self.score_proj.weight)
        nn.init.zeros_(self.score_proj.bias)

    def keys(self, memory: Tensor) -> Tensor:
        """Keys ``B x S x M`` of the memory ``S x B x M``. They do not depend on the query."""
        return self.key_proj(memory).transpose(0, 1).contiguous()  # S x B x M to B x S x M

    def score_bias(self, keys: Tensor, memory_padding_mask: Optional[Tensor]) -> Tensor:
        """The term ``B x S x 1`` that is added to every score.

        It is the scalar bias of the scores, plus a large negative number at padding.

        Args:
            keys: ``B x S x M``.
            memory_padding_mask: ``B x S``, true at padding.
        """
        bias = at_least_float32(self.score_proj.bias)
        if not torch.jit.is_scripting():
            if not is_plain(self.score_proj):
                bias = torch.zeros_like(bias)  # the call of the module adds it
        bias = bias.expand(keys.size(0), keys.size(1))  # 1 to B x S
        if memory_padding_mask is not None:
            bias = bias + memory_padding_mask.to(bias.dtype) * self.masked_score
        return bias.unsqueeze(-1)

    def weights(self, query: Tensor, keys: Tensor, score_bias: Tensor) -> Tensor:
        """Attention weights ``W*B x S x heads`` of W queries for each sentence.

        Args:
            query: ``W*B x H``; row ``w * B + b`` is a query of sentence b.
            keys: ``B x S x M``, from :meth:`keys`.
            score_bias: ``B x S x 1``, from :meth:`score_bias`.
        """
        return self._weights(self.query_proj(query), keys, score_bias)

    def _weights(self, projected: Tensor, keys: Tensor, score_bias: Tensor) -> Tensor:
        """:meth:`weights` of projected queries, ``W*B x M``."""
        sentences, length, width = keys.shape
        # W*B x M to W x B x 1 x M
        hypotheses = projected.size(0) // max(sentences, 1)
        hidden = torch.tanh(keys + projected.view(hypotheses, sentences, 1, width))
        # W x B x S x M to W x B x S x heads x head_size
        hidden = hidden.view(hypotheses, sentences, length, self.num_heads, self.head_size)
        scores = at_least_float32(self._scores(hidden))
        return torch.softmax(scores + score_bias, dim=2).to(keys.dtype).flatten(0, 1)

    def _scores(self, hidden: Tensor) -> Tensor:
        """Scores ``... x heads``, without their bias, of ``... x heads x head_size``."""
        if not torch.jit.is_scripting():
            if not is_plain(self.score_proj):
                return self.score_proj(hidden).squeeze(-1)
        return torch.matmul(hidden, self.score_proj.weight[0])

    def read(self, weights: Tensor, memory: Tensor) -> Tensor:
        """Contexts: for each head, the weighted sum of its part of the memory.

        Args:
            weights: ``N x B x S x heads``, for N queries.
            memory: ``S x B x M``.

        Returns:
            contexts ``N x B x M``.
        """
        # S x B x M to S x B x heads x head_size
        values = memory.view(memory.size(0), memory.size(1), self.num_heads, self.head_size)
        # (B x heads x N x S) (B x heads x S x head_size)
        context = torch.matmul(weights.permute(1, 3, 0, 2), values.permute(1, 2, 0, 3))
        return context.permute(2, 0, 1, 3).flatten(2)  # N x B x heads x head_size to N x B x M

    @torch.jit.unused
    def attend(
        self, query: Tensor, keys: Tensor, memory: Tensor, score_bias: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Attend from W queries for each sentence, in one operator if possible, without gradients.

        Args:
            query, keys, score_bias: see :meth:`weights`.
            memory: ``S x B x M``.

        Returns:
            contexts ``W*B x M`` and attention weights ``W*B x S x heads``.
        """
        projected, vector = self.query_proj(query), self.score_proj.weight[0]
        can_fuse = is_plain(self.score_proj) and keys.numel() > 0
        if can_fuse and has_additive_attention(projected, keys, memory, vector):
            bias = score_bias.squeeze(-1).contiguous()  # B x S x 1 to B x S
            return additive_attention(projected, keys, memory, vector, bias, self.num_heads)
        weights = self._weights(projected, keys, score_bias)
        # W*B x S x heads to W x B x S x heads
        hypotheses = weights.size(0) // max(keys.size(0), 1)
        by_hypothesis = weights.unflatten(0, (hypotheses, keys.size(0)))
        return self.read(by_hypothesis, memory).flatten(0, 1), weights

    def forward(
        self, query: Tensor, memory: Tensor, memory_padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Attend from one query per sentence.

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

    It computes the same as ``fairseq.modules.MultiheadAttention`` and has the same parameters.
    Sentences are short, so plain batched matrix products of strided views are faster on a CPU than
    torch's fused attention. The caller keeps the projected memory.

    Args:
        embed_dim: width C of queries and output.
        memory_size: width E of the memory.
        num_heads: number of heads; must divide *embed_dim*.
        dropout: dropout probability of the attention weights.

    Raises:
        ValueError: *num_heads* does not divide *embed_dim*.

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
        # Added to the scores of padding. Its exponential is 0, and float16 can represent it.
        self.masked_score = -6e4
        self.num_heads = num_heads
        self.head_size = embed_dim // num_heads
        self.q_proj = Linear(embed_dim, embed_dim)
        self.k_proj = Linear(memory_size, embed_dim)
        self.v_proj = Linear(memory_size, embed_dim)
        self.out_proj = Linear(embed_dim, embed_dim)
        self.dropout_module = Dropout(dropout, module_name=self.__class__.__name__)
        # As in fairseq: three matrices of equal shape are initialised like one matrix of three
        # times the width.
        gain = 1 / math.sqrt(2) if memory_size == embed_dim else 1.0
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight, gain=1.0 if linear is self.out_proj else gain)
        nn.init.zeros_(self.out_proj.bias)

    def project_memory(self, memory: Tensor) -> Tuple[Tensor, Tensor]:
        """Keys and values, ``S x B x C`` each, from the memory ``S x B x E``."""
        return self.k_proj(memory), self.v_proj(memory)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        memory_padding_mask: Optional[Tensor] = None,
        need_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Attend from T queries per sentence.

        Args:
            query: ``T x B x C``.
            keys, values: ``S x B x C``, from :meth:`project_memory`.
            memory_padding_mask: ``B x S``, true at padding.
            need_weights: return attention weights.

        Returns:
            output ``T x B x C``, and attention weights ``B x T x S`` averaged over the heads (None
            unless requested).
        """
        time, batch, _ = query.shape
        length = keys.size(0)
        q = self._split_heads(self.q_proj(query) * self.head_size**-0.5)  # B*heads x T x head_size
        # B*heads x head_size x S, and B*heads x S x head_size
        k, v = self._split_heads(keys).transpose(1, 2), self._split_heads(values)
        if memory_padding_mask is None:
            scores = torch.bmm(q, k)  # B*heads x T x S
        else:
            bias = memory_padding_mask.to(query.dtype).mul(self.masked_score)
            # B x S to B*heads x 1 x S
            bias = bias.repeat_interleave(self.num_heads, dim=0).unsqueeze(1)
            scores = torch.baddbmm(bias.expand(-1, time, -1), q, k)
        weights = torch.softmax(scores, dim=-1)
        context = torch.bmm(self.dropout_module(weights), v)
        # B*heads x T x head_size to T x B x C
        context = context.transpose(0, 1).reshape(time, batch, self.num_heads * self.head_size)
        averaged: Optional[Tensor] = None
        if need_weights:
            # B*heads x T x S to B x heads x T x S
            by_head = weights.float().view(batch, self.num_heads, time, length)
            averaged = by_head.mean(dim=1)
        return self.out_proj(context), averaged

    def _split_heads(self, x: Tensor) -> Tensor:
        """View ``N x B x C`` as ``B*heads x N x head_size``, without a copy."""
        return x.view(x.size(0), x.size(1) * self.num_heads, self.head_size).transpose(0, 1)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32, which can represent the masked scores of padding."""
    return x.float() if is_half(x) else x
