"""fairseq models. Importing this package registers them and their architectures."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()

from fairseq_lrn.models.classification import (  # noqa: E402
    LRNClassifier,
    LRNPairClassifier,
)
from fairseq_lrn.models.language_modeling import LRNLanguageModel  # noqa: E402
from fairseq_lrn.models.reading import LRNReader  # noqa: E402
from fairseq_lrn.models.tagging import LRNTagger  # noqa: E402
from fairseq_lrn.models.translation import (  # noqa: E402
    LRNModel,
    RNMTModel,
    TransformerLRNModel,
)

__all__ = [
    "LRNClassifier",
    "LRNLanguageModel",
    "LRNModel",
    "LRNPairClassifier",
    "LRNReader",
    "LRNTagger",
    "RNMTModel",
    "TransformerLRNModel",
]
