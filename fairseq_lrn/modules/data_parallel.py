"""Models inside of the wrappers of data-parallel training."""

from typing import Iterable

from torch import Tensor, nn


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside its wrappers for data-parallel training."""
    while isinstance(getattr(module, "module", None), nn.Module):
        module = module.module
    return module


def seem_unused(model: nn.Module, parameters: Iterable[Tensor]) -> bool:
    """Whether data-parallel training takes parameters for unused that only a loss uses.

    With ``find_unused_parameters``, torch's DistributedDataParallel looks for the parameters on
    which the result of ``forward`` depends, and the backward pass fails if it reaches others. A
    parameter that another module shares, such as the embedding, is used in ``forward``.

    Args:
        model: the model, possibly wrapped for data-parallel training.
        parameters: parameters of the model that a loss uses outside of ``forward``.
    """
    wrapper, finds_unused = model, False
    while wrapper is not unwrapped(model):
        finds_unused |= getattr(wrapper, "find_unused_parameters", False)
        wrapper = wrapper.module
    if not finds_unused:
        return False
    owned = [id(owned) for _, owned in wrapper.named_parameters(remove_duplicate=False)]
    return any(
        parameter.requires_grad and owned.count(id(parameter)) < 2 for parameter in parameters
    )
