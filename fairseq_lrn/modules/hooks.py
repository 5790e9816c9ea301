"""Whether a call of a module does more than its ``forward``."""

from typing import Iterable

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

# torch changes these dictionaries in place. Later versions have further ones, of hooks that are in
# these as well.
GLOBAL_HOOKS = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)


def is_plain(*modules: nn.Module) -> bool:
    """Whether a call of each module runs the ``forward`` of its class and nothing else.

    Fused paths compute what modules compute without calling them, so they are for plain modules.
    A module is not plain if it has a hook (global hooks included), if a tensor of it is
    parametrised, or if its ``forward`` is replaced. The hooks of submodules do not matter here.
    """
    return not any(GLOBAL_HOOKS) and not any(map(_is_changed, modules))


def has_own_methods(module: nn.Module, owner: type, *names: str) -> bool:
    """Whether *module* has the methods that the class *owner* defines, none of them replaced.

    A subclass may override a method, and an instance may have another in its place.
    """
    methods = [getattr(getattr(module, name), "__func__", None) for name in names]
    return methods == [getattr(owner, name) for name in names]


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


def computes_weights(module: nn.Module) -> bool:
    """Whether a parametrisation, or a hook such as ``weight_norm``, may compute the weights."""
    return bool(module._forward_pre_hooks or "parametrizations" in module._modules)


def _is_changed(module: nn.Module) -> bool:
    # torch.compile traces this, and does not know shorter forms.
    return bool(
        module._forward_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or computes_weights(module)
        or "forward" in module.__dict__
    )
