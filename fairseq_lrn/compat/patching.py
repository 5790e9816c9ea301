"""Replacing attributes of fairseq, once for each patch."""

import functools
from typing import Any, Callable, FrozenSet

MARK = "_patches_of_fairseq_lrn"


def patch(owner: Any, name: str, build: Callable[[Callable], Callable]) -> None:
    """Replace the function ``owner.name``, unless *build* has replaced it already.

    Args:
        owner: a module or a class.
        name: name of a function in it.
        build: builds the new function from the original one.
    """
    original = getattr(owner, name)
    patches: FrozenSet[str] = getattr(original, MARK, frozenset())
    name_of_patch = f"{build.__module__}.{build.__qualname__}"
    if name_of_patch in patches:
        return
    replacement = functools.wraps(original)(build(original))
    setattr(replacement, MARK, patches | {name_of_patch})
    is_static = isinstance(owner, type) and isinstance(vars(owner).get(name), staticmethod)
    setattr(owner, name, staticmethod(replacement) if is_static else replacement)
