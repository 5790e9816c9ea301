"""Replacing an attribute of fairseq, once."""

import functools
from typing import Any, Callable

MARK = "_patched_by_fairseq_lrn"


def patch(owner: Any, name: str, build: Callable[[Callable], Callable]) -> None:
    """Replace the function ``owner.name``, unless it is replaced already.

    Args:
        owner: a module or a class.
        name: name of a function in it.
        build: builds the new function from the original one.
    """
    original = getattr(owner, name)
    if getattr(original, MARK, False):
        return
    replacement = functools.wraps(original)(build(original))
    setattr(replacement, MARK, True)
    is_static = isinstance(owner, type) and isinstance(vars(owner).get(name), staticmethod)
    setattr(owner, name, staticmethod(replacement) if is_static else replacement)
