"""Whether modules have changed since something was derived from them, such as a fused step."""

from operator import itemgetter
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from fairseq_lrn.modules.hooks import is_plain

T = TypeVar("T")
SCALARS = (bool, int, float, str)


class Part(NamedTuple):
    """What a module was when the tree of modules was read.

    Attributes:
        children: the modules directly below it.
        size: number of its attributes.
        scalars, nones: from its attributes, the values that were numbers or strings, and the values
            that were None.
    """

    children: tuple
    size: int
    scalars: Callable[[Dict[str, Any]], tuple]
    nones: Callable[[Dict[str, Any]], tuple]


# For each root, what it was, and the modules below it with what they were. The root itself is left
# out of the list, so that the dictionary does not keep it alive.
_trees: "WeakKeyDictionary[nn.Module, Tuple[Part, List[Tuple[nn.Module, Part]]]]"
_trees = WeakKeyDictionary()
# For each root, a key, the result, and the objects whose identity is in the key: while they are
# alive, no other object gets their identity.
_derived: "WeakKeyDictionary[nn.Module, Tuple[tuple, Any, list]]" = WeakKeyDictionary()


def submodules(root: nn.Module) -> List[nn.Module]:
    """The modules below *root*, as ``root.modules()`` finds them, but faster in repeated calls."""
    return [module for module, _ in _tree(root)[1]]


def derived(root: nn.Module, build: Callable[[], T]) -> T:
    """What *build* derives from *root*. It is called again if the module has changed.

    A change is, in it or below it, another module, another parameter or packed weight, a value that
    was written into a parameter, a hook, or another number or string among the attributes.

    Args:
        root: the module. Everything that *build* reads must belong to it.
        build: derives a result that holds no module.
    """
    try:
        key = _key(root)
    except KeyError:
        _trees.pop(root, None)
        key = _key(root)
    known = _derived.get(root)
    if known is None or known[0] != key:
        modules = (root, *submodules(root))
        held = [module.__dict__.get("_packed") for module in modules]
        held += [tensor for module in modules for tensor in module._parameters.values()]
        known = _derived[root] = key, build(), held
    return known[1]


def _tree(root: nn.Module) -> Tuple[Part, List[Tuple[nn.Module, Part]]]:
    tree = _trees.get(root)
    if tree is None or not _is_current(root, *tree):
        below = [module for module in root.modules() if module is not root]
        tree = _trees[root] = _part(root), [(module, _part(module)) for module in below]
    return tree


def _is_current(root: nn.Module, part: Part, below: List[Tuple[nn.Module, Part]]) -> bool:
    return _children(root) == part.children and all(
        _children(module) == own.children for module, own in below
    )


def _children(module: nn.Module) -> tuple:
    return tuple(module._modules.values())


def _part(module: nn.Module) -> Part:
    attributes = module.__dict__
    scalars = [name for name, value in attributes.items() if value.__class__ in SCALARS]
    nones = [name for name, value in attributes.items() if value is None]
    # The name that is always there makes every result a tuple.
    return Part(
        _children(module),
        len(attributes),
        itemgetter("training", "training", *scalars),
        itemgetter("training", "training", *nones),
    )


def _key(root: nn.Module) -> tuple:
    """What changes if *root* changes.

    Raises:
        KeyError: a module has other attributes than when the tree was read.
    """
    part, below = _tree(root)
    return (_fingerprint(root, part), *[_fingerprint(*one) for one in below])


def _fingerprint(module: nn.Module, part: Part) -> tuple:
    attributes = module.__dict__
    if len(attributes) != part.size:
        raise KeyError("attributes")
    return (
        module.__class__,
        is_plain(module),
        id(attributes.get("_packed")),
        part.scalars(attributes),
        part.nones(attributes).count(None),
        *[identity(tensor) for tensor in attributes["_parameters"].values() if tensor is not None],
    )


def identity(tensor: Tensor) -> Tuple[int, int, int]:
    """Numbers that change with a tensor, except when its ``data`` is changed in place."""
    version = -1 if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version
