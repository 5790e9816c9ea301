"""A sequence through all layers of an LRN encoder, in one call of C++.

With one sentence at a time, calling the modules of an encoder takes longer than computing them. The
layers themselves are the reference implementation.
"""

from typing import Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.layer_parameters import flat_parameters
from fairseq_lrn.ops.library import LIBRARY

# parameters: see flat_parameters. The other arguments and the results are those of EncoderPass.
LIBRARY.define(
    "lrn_encoder_pass(Tensor x, Tensor? padding_mask, Tensor?[] parameters, int hidden,"
    " str activation, bool normalize_before, float eps, float gate_eps) -> (Tensor x, Tensor state)"
)


class EncoderPass:
    """A sequence through all layers of an LRN encoder, in one call of C++. It has no gradients.

    Args:
        layers: parameters of each layer by name, see :mod:`fairseq_lrn.ops.layer_parameters`. No
            layer attends.
        hidden: size H of the state in each of D directions.
        activation: ``"tanh"`` or ``"identity"``.
        normalize_before: pre-norm (layer norms at the entry of the branches) instead of post-norm.
        eps: epsilon of the layer norms of the branches.
        gate_eps: epsilon of the layer norm of the gates.

    Raises:
        RuntimeError: the C++ kernels are unavailable.
        ValueError: a layer has an unknown parameter, or lacks a required one.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Optional[Tensor]]],
        hidden: int,
        activation: str,
        normalize_before: bool,
        eps: float,
        gate_eps: float,
    ):
        dispatch.require_cpp("EncoderPass")
        parameters = flat_parameters(layers)
        self._arguments = (parameters, hidden, activation, normalize_before, eps, gate_eps)

    def __call__(self, x: Tensor, padding_mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Encode B sentences.

        Args:
            x: embeddings, ``T x B x C``, not empty.
            padding_mask: ``T x B``, true at padding, where the states are carried.

        Returns:
            output of the last layer, ``T x B x C``, and the final states of its recurrence,
            ``B x (D*H)``, forward then backward.

        Raises:
            RuntimeError: shapes do not fit, or a tensor has an unsuitable type.
        """
        return torch.ops.fairseq_lrn.lrn_encoder_pass(x, padding_mask, *self._arguments)
