"""One position through all layers of an LRN decoder, in one call of C++.

Between its matrix products, a decoding step has only small or element-wise operations, and calling
a torch operator for each of them takes longer than computing them. So they are fused, and C++ calls
the matrix products, too. The layers themselves are the reference implementation.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.layer_parameters import flat_parameters
from fairseq_lrn.ops.library import LIBRARY
from fairseq_lrn.ops.precision import matmul_dtype

# parameters: all parameters of the first layer, then of the next one; None for an absent parameter.
# The other arguments and the results are those of DecoderStep.
LIBRARY.define(
    "lrn_decoder_step(Tensor x, Tensor[] states, Tensor[] memory, Tensor? padding_mask,"
    " Tensor?[] parameters, int heads, str activation, bool normalize_before, float eps,"
    " float gate_eps, float masked_score) -> (Tensor x, Tensor[] states)"
)


def has_decoder_step(x: Tensor) -> bool:
    """Whether :class:`DecoderStep` computes tensors of the device and type of *x*.

    Under autocast it does not, because torch would change the type of its products.
    """
    is_float32 = x.dtype == torch.float32 and matmul_dtype(x) == torch.float32
    return x.device.type == "cpu" and is_float32 and dispatch.choose("cpu") == "cpp"


class DecoderStep:
    """One position through all layers of an LRN decoder, in one call of C++. It has no gradients.

    Args:
        layers: parameters of each layer by name, see :mod:`fairseq_lrn.ops.layer_parameters`. A
            layer need not attend.
        heads: number of attention heads.
        activation: ``"tanh"`` or ``"identity"``.
        normalize_before: pre-norm (layer norms at the entry of the branches) instead of post-norm.
        eps: epsilon of the layer norms of the branches.
        gate_eps: epsilon of the layer norm of the gates.
        masked_score: added to the attention scores of padding.

    Raises:
        RuntimeError: the C++ kernels are unavailable.
        ValueError: a layer has an unknown parameter, or lacks a required one.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Optional[Tensor]]],
        heads: int,
        activation: str,
        normalize_before: bool,
        eps: float,
        gate_eps: float,
        masked_score: float,
    ):
        dispatch.require_cpp("DecoderStep")
        self._parameters = flat_parameters(layers)
        self._options = (heads, activation, normalize_before, eps, gate_eps, masked_score)

    def __call__(
        self,
        x: Tensor,
        states: List[Tensor],
        memory: List[Tensor],
        padding_mask: Optional[Tensor],
    ) -> Tuple[Tensor, List[Tensor]]:
        """Compute one position of W hypotheses for each of B sentences.

        Args:
            x: embeddings, ``W*B x C``; row ``w * B + b`` is hypothesis w of sentence b.
            states: state of each layer, ``W*B x H``.
            memory: keys and values of each layer that attends, ``S x B x C``.
            padding_mask: ``B x S``, true at padding of the source.

        Returns:
            features ``W*B x C``, and the next state of each layer.

        Raises:
            RuntimeError: shapes do not fit, or a tensor has an unsuitable type.
        """
        return torch.ops.fairseq_lrn.lrn_decoder_step(
            x, states, memory, padding_mask, *self.arguments
        )

    @property
    def arguments(self) -> Tuple[Any, ...]:
        """The arguments of the operator that stay the same in every step."""
        return (self._parameters, *self._options)
