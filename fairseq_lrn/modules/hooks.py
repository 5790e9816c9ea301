"""Whether a call of a module does more than its ``forward``."""

from torch import nn
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
