"""fairseq models. Importing this package registers them."""

# These register the models that architectures refer to, so the order matters.
from fairseq_lrn.models.translation.lrn_model import LRNModel  # isort: skip
from fairseq_lrn.models.translation.rnmt_model import RNMTModel  # isort: skip
from fairseq_lrn.models.translation.transformer_lrn_model import TransformerLRNModel  # isort: skip
from fairseq_lrn.models import architectures  # noqa: F401  isort: skip

__all__ = ["LRNModel", "RNMTModel", "TransformerLRNModel"]
