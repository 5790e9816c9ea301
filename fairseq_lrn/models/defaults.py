"""The defaults that a named architecture sets."""

from typing import Any


def set_defaults(args: Any, **defaults: Any) -> None:
    """Set the options that *args* does not have."""
    for name, value in defaults.items():
        if name.startswith("share_") and getattr(args, "adaptive_softmax_cutoff", None):
            value = False  # adaptive softmax cannot share the output embeddings
        setattr(args, name, getattr(args, name, value))
