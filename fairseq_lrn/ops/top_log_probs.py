"""The likeliest symbols of a softmax, without the softmax."""

from typing import Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.lrn_scan.autograd import LIBRARY

LIBRARY.define("top_log_probs(Tensor logits, int k) -> (Tensor log_p, Tensor symbols)")


def top_log_probs(logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    """The k likeliest symbols of each row, and their log-probabilities.

    Beam search wants a dozen of thousands of symbols. Here a row is read twice and nothing of
    its length is written. No gradients.

    Args:
        logits: ``N x V``, of any floating-point type.
        k: from 1 to V.

    Returns:
        log-probabilities in float32 at least and symbols, ``N x k``, likeliest first. Those of
        a row with NaN are all -inf.

    Raises:
        ValueError: *logits* or *k* are not as above.
    """
    if logits.dim() != 2:
        raise ValueError(f"logits must be N x V, not {tuple(logits.shape)}")
    if not 1 <= k <= logits.size(1):
        raise ValueError(f"k must be from 1 to V = {logits.size(1)}, not {k}")
    if dispatch.choose(logits.device.type) == "cpp":
        return torch.ops.fairseq_lrn.top_log_probs(logits.detach(), k)
    exact = torch.promote_types(logits.dtype, torch.float32)
    log_p, symbols = torch.log_softmax(logits.detach().to(exact), dim=-1).topk(k)
    return log_p.nan_to_num(nan=-torch.inf, neginf=-torch.inf), symbols
