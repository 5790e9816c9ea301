"""One position through all layers of an LRN decoder, in one call of C++.

Between its matrix products, a decoding step has only small or element-wise operations, and calling
a torch operator for each of them takes longer than computing them. So they are fused, and C++ calls
the matrix products, too. The layers themselves are the reference implementation.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_lrn.ops import dispatch
from fairseq_lrn.ops.library import LIBRARY

# csrc/decoder_step/parameters.h owns the list of a layer's parameters: names, order and shapes.
LIBRARY.define("decoder_step_parameter_names() -> str[]")
# The required parameters that a layer with the parameters `given` lacks.
LIBRARY.define("decoder_step_missing_parameter_names(str[] given) -> str[]")
# parameters: all parameters of the first layer, then of the next one; None for an absent parameter.
# The other arguments and the results are those of DecoderStep.
LIBRARY.define(
    "lrn_decoder_step(Tensor x, Tensor[] states, Tensor[] memory, Tensor? padding_mask,"
    " Tensor?[] parameters, int heads, str activation, bool normalize_before, float eps,"
    " float gate_eps, float masked_score) -> (Tensor x, Tensor[] states)"
)


def has_decoder_step(x: Tensor) -> bool:
    """Whether :class:`DecoderStep` computes tensors of the device and type of *x*."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and dispatch.choose("cpu") == "cpp"


class DecoderStep:
    """One position through all layers of an LRN decoder, in one call of C++. It has no gradients.

    A layer has these parameters, for a residual stream of width C, a state of size H, 3H or 4H
    gates G, and a feed-forward block of width F:

    - ``gates_weight`` (``G x C``), ``gates_bias`` (``G``), ``gates_norm_gain`` and
      ``gates_norm_shift`` (``G``): projection of the gates and its layer norm; with a norm, the
      bias is ignored
    - ``out_weight`` (``C x H``), ``out_bias`` (``C``), ``residual_norm_gain`` and
      ``residual_norm_shift`` (``C``): output projection of the recurrence and its layer norm
    - ``query_weight`` and ``attention_out_weight`` (``C x C``), ``query_bias`` and
      ``attention_out_bias`` (``C``), ``attention_norm_gain`` and ``attention_norm_shift`` (``C``):
      attention over the source and its layer norm
    - ``ffn_in_weight`` (``F x C``), ``ffn_in_bias`` (``F``), ``ffn_out_weight`` (``C x F``),
      ``ffn_out_bias`` (``C``), ``ffn_norm_gain`` and ``ffn_norm_shift`` (``C``): feed-forward block
      and its layer norm, all absent in a layer without this block

    Biases and the norm of the gates are optional. All parameters are float32; a weight may also be
    in oneDNN's layout (float32 or bfloat16), or in 8 bits (:func:`.int8_linear.quantised`).

    Args:
        layers: parameters of each layer by name; an absent parameter is None or left out.
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
        if dispatch.choose("cpu") != "cpp":
            raise RuntimeError("DecoderStep needs the C++ kernels: see python -m fairseq_lrn.ops")
        names = torch.ops.fairseq_lrn.decoder_step_parameter_names()
        for index, layer in enumerate(layers):
            _check_names(index, layer, names)
        self._parameters = [layer.get(name) for layer in layers for name in names]
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
            memory: keys and values of each layer, ``S x B x C``.
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


def _check_names(index: int, layer: Mapping[str, Optional[Tensor]], names: Sequence[str]) -> None:
    unknown = [name for name in layer if name not in names]
    if unknown:
        raise ValueError(
            f"layer {index} has unknown parameters: {', '.join(unknown)}; "
            f"the parameters of a layer are {', '.join(names)}"
        )
    given = [name for name in names if layer.get(name) is not None]
    missing = torch.ops.fairseq_lrn.decoder_step_missing_parameter_names(given)
    if missing:
        raise ValueError(f"layer {index} lacks required parameters: {', '.join(missing)}")
