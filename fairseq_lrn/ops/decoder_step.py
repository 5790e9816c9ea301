"""One position through all the layers of an LRN decoder, without Python between them.

What is left between the products of a step is element-wise or small, and its operators take less
time than calling them. So they are fused, and called from C++.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.lrn_scan.autograd import LIBRARY

# x: W*B x C, row w * B + b is hypothesis w of sentence b. states: W*B x H for each layer; memory:
# keys and values S x B x C for each layer; padding_mask: B x S, true at padding. parameters: for
# each layer weight and bias of the gates' projection, gain and shift of its norm; weight and bias
# of the output projection, gain and shift of its norm; weights and biases of the attention's
# query and output projections, gain and shift of their norm; weights and biases of the two maps
# of the feed-forward block, gain and shift of its norm. Weights may be laid out by oneDNN, or be in
# 8 bits (ops/int8_linear.py).
PARAMETERS = 20  # of a layer; those that it lacks are None
LIBRARY.define(
    "lrn_decoder_step(Tensor x, Tensor[] states, Tensor[] memory, Tensor? padding_mask,"
    " Tensor?[] parameters, int heads, str activation, bool normalize_before, float eps,"
    " float gate_eps, float masked_score) -> (Tensor x, Tensor[] states)"
)


def has_decoder_step(x: Tensor) -> bool:
    """Whether there is a kernel for tensors like this one. There is no reference: layers are it."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and dispatch.choose("cpu") == "cpp"


def lrn_decoder_step(
    x: Tensor,
    states: List[Tensor],
    memory: List[Tensor],
    padding_mask: Optional[Tensor],
    parameters: List[Optional[Tensor]],
    heads: int,
    activation: str,
    normalize_before: bool,
    eps: float,
    gate_eps: float,
    masked_score: float,
) -> Tuple[Tensor, List[Tensor]]:
    """The operator of that name, defined above. No gradients.

    Args:
        x: embeddings, ``W*B x C``.
        states, memory, padding_mask, parameters: see above.
        heads: of the attention.
        activation: ``"tanh"`` or ``"identity"``.
        normalize_before: norms at the entry of the branches instead of after the sums.
        eps, gate_eps: in the norms of the branches and of the gates' projection.
        masked_score: added to the scores of padding.

    Returns:
        features ``W*B x C`` and the next states.

    Raises:
        RuntimeError: shapes do not fit, or a tensor is not of float32.
    """
    return torch.ops.fairseq_lrn.lrn_decoder_step(
        x,
        states,
        memory,
        padding_mask,
        parameters,
        heads,
        activation,
        normalize_before,
        eps,
        gate_eps,
        masked_score,
    )
