"""The most probable tokens of a softmax, without computing the softmax."""

from typing import Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.transforms import is_transforming

LIBRARY.define("top_log_probs(Tensor logits, int k) -> (Tensor log_p, Tensor symbols)")


def top_log_probs(logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    """The k most probable tokens of each row, and their log-probabilities.

    Beam search needs about a dozen out of several thousand tokens. This operator reads a row twice
    and writes only the k results. It has no gradients.

    Args:
        logits: ``N x V``, of any floating-point type.
        k: number of tokens, from 1 to V.

    Returns:
        log-probabilities (float32 or wider) and token indices, ``N x k``, most probable first. For
        a row with NaN, all log-probabilities are -inf.

    Raises:
        ValueError: *logits* is not a matrix, or *k* is out of range.
    """
    if logits.dim() != 2:
        raise ValueError(f"logits must be N x V, not {tuple(logits.shape)}")
    if not 1 <= k <= logits.size(1):
        raise ValueError(f"k must be from 1 to V = {logits.size(1)}, not {k}")
    if dispatch.choose(logits.device.type) == "cpp" and not is_transforming():
        return torch.ops.fairseq_lrn.top_log_probs(logits.detach(), k)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    log_p, symbols = torch.log_softmax(logits.detach().to(dtype), dim=-1).topk(k)
    return log_p.nan_to_num(nan=-torch.inf, neginf=-torch.inf), symbols
