"""Whether modules have changed since something was derived from them, such as a fused step."""

from typing import Any, Callable, List, Tuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from fairseq_lrn.modules.hooks import is_plain

T = TypeVar("T")
SCALARS = (bool, int, float, str)

# For each root, the modules below it with their children. The root itself is left out, so that the
# dictionary does not keep it alive.
_trees: "WeakKeyDictionary[nn.Module, Tuple[tuple, List[Tuple[nn.Module, tuple]]]]"
_trees = WeakKeyDictionary()
# For each root, a key, the result, and the objects whose identity is in the key: while they are
# alive, no other object gets their identity.
_derived: "WeakKeyDictionary[nn.Module, Tuple[tuple, Any, list]]" = WeakKeyDictionary()


def submodules(root: nn.Module) -> List[nn.Module]:
    """The modules below *root*, as ``root.modules()`` finds them, but faster in repeated calls."""
    tree = _trees.get(root)
    if tree is None or not _is_current(root, *tree):
        parts = [module for module in root.modules() if module is not root]
        tree = _children(root), [(module, _children(module)) for module in parts]
        _trees[root] = tree
    return [module for module, _ in tree[1]]


def derived(root: nn.Module, build: Callable[[], T]) -> T:
    """What *build* derives from *root*. It is called again if the module has changed.

    A change is, in it or below it, another module, another parameter or packed weight, a value that
    was written into a parameter, a hook, or another number or string among the attributes.

    Args:
        root: the module. Everything that *build* reads must belong to it.
        build: derives a result that holds no module.
    """
    modules = (root, *submodules(root))
    key = tuple(map(_fingerprint, modules))
    known = _derived.get(root)
    if known is None or known[0] != key:
        held = [module.__dict__.get("_packed") for module in modules]
        held += [tensor for module in modules for tensor in module._parameters.values()]
        known = _derived[root] = key, build(), held
    return known[1]


def _is_current(root: nn.Module, children: tuple, parts: List[Tuple[nn.Module, tuple]]) -> bool:
    return _children(root) == children and all(_children(part) == own for part, own in parts)


def _children(module: nn.Module) -> tuple:
    return tuple(module._modules.values())


def _fingerprint(module: nn.Module) -> tuple:
    attributes = module.__dict__
    return (
        module.__class__,
        is_plain(module),
        id(attributes.get("_packed")),
        *[value for value in attributes.values() if value.__class__ in SCALARS],
        *[identity(tensor) for tensor in module._parameters.values() if tensor is not None],
    )


def identity(tensor: Tensor) -> Tuple[int, int, int]:
    """Numbers that change with a tensor, except when its ``data`` is changed in place."""
    version = -1 if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version
