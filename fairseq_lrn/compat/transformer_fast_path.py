"""fairseq (0.12.2) fails with torch 2 where its transformer encoder takes torch's fast path.

In evaluation, a loaded encoder hands its layers to a function of torch. Since torch 2.0, this
function needs to know the type of a padding mask, which fairseq does not tell. A batch with padding
on the left, as in translation, ends in "Mask Type should be defined". The patch keeps the encoder
off the fast path. Later versions of fairseq have no such path.
"""

from fairseq_lrn.compat.patching import patch


def patch_transformer_fast_path() -> None:
    """Let fairseq's transformer encoders compute all layers themselves."""
    from fairseq.modules.transformer_layer import TransformerEncoderLayerBase

    def build(original):
        def __init__(self, *args, **kwargs):
            original(self, *args, **kwargs)
            self.can_use_fastpath = False

        return __init__

    patch(TransformerEncoderLayerBase, "__init__", build)
