"""Additive attention in one operator, forward and backward, on a CPU in float32.

The scores of a query have tanh inside, so torch computes them with several operators, each of which
writes a tensor of the size of the keys. A recurrence with attention does so at every step.
:class:`~fairseq_lrn.modules.attention.AdditiveAttention` is the reference implementation.
"""

from typing import Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.transforms import is_compiling, is_transforming

LIBRARY.define(
    "additive_attention(Tensor query, Tensor keys, Tensor memory, Tensor vector, Tensor score_bias,"
    " int heads) -> (Tensor context, Tensor weights)"
)
# For one query per sentence. The gradients of keys and vector are added to grad_keys, B x S x M,
# and to grad_vector, B x M, whose rows hold a sum for each sentence and head.
LIBRARY.define(
    "additive_attention_backward(Tensor grad_context, Tensor? grad_weights, Tensor query,"
    " Tensor keys, Tensor memory, Tensor vector, Tensor score_bias, Tensor weights, int heads,"
    " Tensor(a!) grad_keys, Tensor(b!) grad_vector) -> Tensor grad_query"
)


def has_additive_attention(*inputs: Tensor) -> bool:
    """Whether :func:`additive_attention` computes *inputs* of their devices and types, now.

    It has no rules for ``torch.func``, for forward-mode derivatives and for compilers.
    """
    is_float = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in inputs)
    if not is_float or is_transforming() or is_compiling():
        return False
    return not torch.jit.is_tracing() and dispatch.choose("cpu") == "cpp"


def additive_attention(
    query: Tensor, keys: Tensor, memory: Tensor, vector: Tensor, score_bias: Tensor, heads: int
) -> Tuple[Tensor, Tensor]:
    """Attend from W queries for each of B sentences. It has no gradients.

    The score of a source position is the product of *vector* and tanh(key + query), plus its bias.
    Source: Bahdanau et al. (2015), with heads as in the authors' toolkit (bzhangGo/zero).

    Args:
        query: ``W*B x M``; row ``w * B + b`` is a query of sentence b.
        keys: ``B x S x M``.
        memory: ``S x B x M``.
        vector: ``M / heads``, shared by the heads.
        score_bias: ``B x S``.
        heads: number of heads, each of which has an equal part of M.

    Returns:
        contexts ``W*B x M`` and attention weights ``W*B x S x heads``.

    Raises:
        RuntimeError: shapes do not fit, or a tensor is not float32.
    """
    return torch.ops.fairseq_lrn.additive_attention(query, keys, memory, vector, score_bias, heads)
