"""The defaults that a named architecture sets."""

from typing import Any

# The authors' LSTM and GRU have one bias per gate, and this one is with the recurrent matrix.
CELLS_WITH_RECURRENT_BIAS = ("gru", "lstm")
# In the authors' taggers and readers, the output activation of these cells is the identity.
CELLS_WITH_IDENTITY = ("atr",)


def set_defaults(args: Any, **defaults: Any) -> None:
    """Set the options that *args* does not have."""
    for name, value in defaults.items():
        if name.startswith("share_") and getattr(args, "adaptive_softmax_cutoff", None):
            # Adaptive softmax shares the output embeddings only if all tails are as wide.
            value = value and getattr(args, "adaptive_softmax_factor", None) == 1.0
        setattr(args, name, getattr(args, name, value))
