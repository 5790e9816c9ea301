"""Dynamic evaluation: a language model goes on learning from the text that it has predicted.

Source: Krause et al. (2018), "Dynamic evaluation of neural sequence models", sections 4 and 5, as
in the authors' release (bzhangGo/lrn, ``lm/dynamiceval.py``).
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Iterator, List, Mapping, Optional, Tuple

import torch
import torch.nn.functional as F
from fairseq.utils import get_perplexity
from torch import Tensor, nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import count, real


@dataclass(frozen=True)
class DynamicEvaluation:
    """Options of dynamic evaluation; the defaults are the authors' for the Penn Treebank.

    Attributes:
        lr: learning rate eta.
        decay: rate lambda at which weights return to what training made them.
        epsilon: added to the root of the squared gradients.
        segment: tokens between two updates.
        columns: columns of the training text over which a gradient is averaged.

    Raises:
        InputError: an option is no number, or it is out of range.
    """

    lr: float = 0.002
    decay: float = 0.075
    epsilon: float = 0.001
    segment: int = 5
    columns: int = 100

    def __post_init__(self):
        for name in ("segment", "columns"):
            count(name, getattr(self, name))
        for name in ("lr", "decay", "epsilon"):
            value = real(getattr(self, name))
            if not 0.0 <= value < math.inf or (name == "epsilon" and value == 0.0):
                bound = "above 0" if name == "epsilon" else "of at least 0"
                raise InputError(f"{name} must be a number {bound}, not {getattr(self, name)!r}")


def checked_options(options: Mapping[str, Any]) -> DynamicEvaluation:
    """The options with these values, by their names.

    Raises:
        InputError: there is no such option, it is no number, or it is out of range.
    """
    names = [field.name for field in fields(DynamicEvaluation)]
    for name in sorted(options.keys() - set(names)):
        raise InputError(
            f"{name} is no option of dynamic evaluation: choose from {', '.join(names)}"
        )
    return DynamicEvaluation(**options)


def dynamic_perplexity(
    model: Any, text: Tensor, training_text: Tensor, options: DynamicEvaluation
) -> float:
    r"""The perplexity of a text, while the model is updated after each segment::

        s = sqrt(sum of g^2 over segments of the training text)
        r = min(s / sum over parameters of mean(s), 1 / lambda)
        theta <- theta + lambda r (theta_0 - theta) - eta g / (s + epsilon)

    g is the gradient of the mean loss of a segment. The model's weights are what they were, when
    the function returns.

    Args:
        model: a model ``lrn_lm`` in evaluation mode.
        text: the tokens to predict, ``N``, on the model's device.
        training_text: tokens of the training text.
        options: see :class:`DynamicEvaluation`.

    Raises:
        InputError: the training text is shorter than ``columns * segment`` tokens.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    original = [parameter.detach().clone() for parameter in parameters]
    scales = gradient_scales(model, parameters, training_text, options)
    total_scale = sum(float(scale.mean()) for scale in scales)
    rates = [(scale / total_scale).clamp(max=1.0 / max(options.decay, 1e-30)) for scale in scales]
    total = 0.0
    try:
        for loss, count in segment_losses(model, text.unsqueeze(1), options.segment):
            total += float(loss.detach()) * count
            gradients = gradients_of(loss, parameters)
            with torch.no_grad():
                for parameter, start, rate, gradient, scale in zip(
                    parameters, original, rates, gradients, scales
                ):
                    parameter += options.decay * rate * (start - parameter)
                    parameter -= options.lr * gradient / (scale + options.epsilon)
    finally:
        with torch.no_grad():
            for parameter, start in zip(parameters, original):
                parameter.copy_(start)
    return perplexity_of(total / len(text))


def perplexity_of(nll: float) -> float:
    """The perplexity of a mean negative log-likelihood in nats; infinity if it is too large."""
    return get_perplexity(nll, round=12, base=math.e)


def gradient_scales(
    model: Any, parameters: List[nn.Parameter], text: Tensor, options: DynamicEvaluation
) -> List[Tensor]:
    """The root of the sum of squared gradients of each parameter, over the training text.

    Raises:
        InputError: see :func:`dynamic_perplexity`.
    """
    length = len(text) // options.columns
    if length < options.segment:
        raise InputError(
            f"the training text has {len(text)} tokens, which are too few for {options.columns} "
            f"columns of {options.segment}: give a longer text, or in Python fewer columns"
        )
    columns = text[: length * options.columns].view(options.columns, length).t()  # T x B
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    for loss, _ in segment_losses(model, columns, options.segment):
        for square, gradient in zip(squares, gradients_of(loss, parameters)):
            square += gradient.pow(2)
    return [square.sqrt() for square in squares]


def segment_losses(model: Any, columns: Tensor, segment: int) -> Iterator[Tuple[Tensor, int]]:
    """The mean loss of each segment, in nats, with its number of steps; the state is carried.

    Args:
        model: a model ``lrn_lm``.
        columns: tokens, ``T x B``.
        segment: number of steps of a segment.
    """
    decoder = model.decoder
    eos = torch.full_like(columns[:1], decoder.dictionary.eos())
    sources = torch.cat([eos, columns[:-1]])
    states: Optional[List[Tensor]] = None
    for source, target in zip(sources.split(segment), columns.split(segment)):
        with torch.enable_grad():
            features, _, new_states = decoder.read(source, states)
            loss = mean_nll(model, features, target)
        yield loss, len(source)
        states = [state.detach() for state in new_states]


def mean_nll(model: Any, features: Tensor, target: Tensor) -> Tensor:
    """The mean negative log-likelihood of tokens in nats.

    Args:
        model: a model ``lrn_lm``.
        features: result of the decoder's method ``read``, ``T x B x C``.
        target: tokens, ``T x B``.
    """
    decoder = model.decoder
    if getattr(decoder, "adaptive_softmax", None) is not None:  # fairseq's has no gradient
        pad = decoder.dictionary.pad()
        return decoder.adaptive_softmax.nll(features, target.contiguous(), pad) / target.numel()
    scores = decoder.output_layer(features.transpose(0, 1))  # T x B x C to B x T x C
    log_p = model.get_normalized_probs((scores, {}), log_probs=True)
    # B x T x V to B*T x V, and T x B to B*T
    return F.nll_loss(log_p.flatten(0, 1), target.t().flatten())


def gradients_of(loss: Tensor, parameters: List[nn.Parameter]) -> List[Tensor]:
    """The gradients of all parameters; 0 for those of tails that a segment does not use."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, found)
    ]
