"""With ``--store-ema``, fairseq (0.12) dies on models with buffers of booleans or whole numbers.

It multiplies everything in a model's state by the decay, and torch refuses to write the product
into such a buffer. The patch lets fairseq copy these buffers, as it copies the keys that it is told
to skip. Those of this package say which words have fixed vectors.
"""

from fairseq_lrn.compat.patching import patch


def patch_averaged_buffers() -> None:
    """Let the exponential moving average copy what has no mean."""
    from fairseq.models.ema.ema import EMA

    def build(original):
        def __init__(self, model, config, device=None, skip_keys=None):
            copied = {
                name
                for name, value in model.state_dict().items()
                if hasattr(value, "is_floating_point") and not value.is_floating_point()
            }
            original(self, model, config, device, copied.union(skip_keys or ()))

        return __init__

    patch(EMA, "__init__", build)
