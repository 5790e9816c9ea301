"""The parameters of a residual recurrent layer, as the fused operators take them.

A layer has these parameters, for a residual stream of width C, a state of size H in each of D
directions, 3H or 4H gates G, and a feed-forward block of width F:

- ``gates_weight`` (``G x C``), ``gates_bias`` (``G``), ``gates_norm_gain`` and ``gates_norm_shift``
  (``G``): projection of the gates and its layer norm
- ``backward_gates_weight`` and so on: the same for the second direction, absent in a layer with one
  direction
- ``out_weight`` (``C x (D*H)``), ``out_bias`` (``C``), ``residual_norm_gain`` and
  ``residual_norm_shift`` (``C``): output projection of the recurrence and its layer norm
- ``query_weight`` and ``attention_out_weight`` (``C x C``), ``query_bias`` and
  ``attention_out_bias`` (``C``), ``attention_norm_gain`` and ``attention_norm_shift`` (``C``):
  attention over a source and its layer norm, absent in a layer that does not attend
- ``ffn_in_weight`` (``F x C``), ``ffn_in_bias`` (``F``), ``ffn_out_weight`` (``C x F``),
  ``ffn_out_bias`` (``C``), ``ffn_norm_gain`` and ``ffn_norm_shift`` (``C``): feed-forward block and
  its layer norm, absent in a layer without this block

Biases and the norm of the gates are optional. All parameters are float32; a weight may also be in
oneDNN's layout (float32 or bfloat16), or in 8 bits (:func:`.int8_linear.quantised`).
"""

from typing import List, Mapping, Optional, Sequence

import torch
from torch import Tensor

from fairseq_lrn.ops.library import LIBRARY

# csrc/common/layer.h owns the list: names, order and shapes.
LIBRARY.define("layer_parameter_names() -> str[]")
# The required parameters that a layer with the parameters `given` lacks.
LIBRARY.define("missing_layer_parameter_names(str[] given) -> str[]")


def flat_parameters(layers: Sequence[Mapping[str, Optional[Tensor]]]) -> List[Optional[Tensor]]:
    """The parameters of all layers in the order of the operators, None for an absent one.

    The C++ kernels must be loaded.

    Args:
        layers: parameters of each layer by name; an absent parameter is None or left out.

    Raises:
        ValueError: a layer has an unknown parameter, or lacks a required one.
    """
    names = torch.ops.fairseq_lrn.layer_parameter_names()
    for index, layer in enumerate(layers):
        _check_names(index, layer, names)
    return [layer.get(name) for layer in layers for name in names]


def _check_names(index: int, layer: Mapping[str, Optional[Tensor]], names: Sequence[str]) -> None:
    unknown = [name for name in layer if name not in names]
    if unknown:
        raise ValueError(
            f"layer {index} has unknown parameters: {', '.join(unknown)}; "
            f"the parameters of a layer are {', '.join(names)}"
        )
    given = [name for name in names if layer.get(name) is not None]
    missing = torch.ops.fairseq_lrn.missing_layer_parameter_names(given)
    if missing:
        raise ValueError(f"layer {index} lacks required parameters: {', '.join(missing)}")
