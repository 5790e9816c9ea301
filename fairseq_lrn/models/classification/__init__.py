"""Models that classify one text or a pair of texts."""

# The models must be registered before the architectures, which refer to them.
from fairseq_lrn.models.classification.classifier import LRNClassifier  # isort: skip
from fairseq_lrn.models.classification.pair_classifier import LRNPairClassifier  # isort: skip
from fairseq_lrn.models.classification import architectures  # noqa: F401  isort: skip

__all__ = ["LRNClassifier", "LRNPairClassifier"]
