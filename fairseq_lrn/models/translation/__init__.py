"""Translation models. The file of each model stands next to the file of its options."""

# The models must be registered before the architectures, which refer to them.
from fairseq_lrn.models.translation.lrn_model import LRNModel  # isort: skip
from fairseq_lrn.models.translation.rnmt_model import RNMTModel  # isort: skip
from fairseq_lrn.models.translation.transformer_lrn_model import TransformerLRNModel  # isort: skip
from fairseq_lrn.models.translation import architectures  # noqa: F401  isort: skip

__all__ = ["LRNModel", "RNMTModel", "TransformerLRNModel"]
