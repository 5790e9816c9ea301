"""Recognise an output layer that is a single matrix product."""

from typing import Callable, Optional, Tuple

from torch import Tensor, nn

from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.modules.linear import Linear


def plain_output_table(
    decoder: nn.Module, output_layer: Callable, projection: Optional[nn.Module]
) -> Tuple[Optional[Tensor], str]:
    """The matrix of a decoder whose output layer only multiplies features by this matrix.

    Args:
        decoder: the decoder.
        output_layer: the method of the decoder's class that multiplies by the matrix and does
            nothing else. A subclass may override it.
        projection: the linear layer or the embedding that holds the matrix; None if there is none.

    Returns:
        the matrix ``V x C`` and an empty string, or None and the reason why there is no such
        matrix.
    """
    if getattr(decoder, "adaptive_softmax", None) is not None:
        return None, "the model has an adaptive softmax"
    is_linear = type(projection) in (nn.Linear, Linear) and projection.bias is None
    if not is_linear and type(projection) is not nn.Embedding:
        return None, "the model's output layer is not a single matrix without bias"
    if not is_plain(projection):
        return None, "the output layer has hooks or parametrised weights"
    if type(decoder).output_layer is not output_layer:
        return None, f"the output layer of {type(decoder).__name__} may do more than multiply"
    return projection.weight, ""
