"""fairseq models. Importing this package registers them."""

# These register the models that architectures refer to, so the order matters.
from fairseq_lrn.models.lrn import LRNModel  # isort: skip
from fairseq_lrn.models.rnmt import RNMTModel  # isort: skip
from fairseq_lrn.models.transformer_lrn import TransformerLRNModel  # isort: skip
from fairseq_lrn.models import architectures  # noqa: F401  isort: skip

__all__ = ["LRNModel", "RNMTModel", "TransformerLRNModel"]
