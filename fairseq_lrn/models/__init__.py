"""fairseq models. Importing this package registers them and their architectures."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()

from fairseq_lrn.models.translation import (  # noqa: E402
    LRNModel,
    RNMTModel,
    TransformerLRNModel,
)

__all__ = ["LRNModel", "RNMTModel", "TransformerLRNModel"]
