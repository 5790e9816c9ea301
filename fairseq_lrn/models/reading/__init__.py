"""Models that answer questions with a span of a text."""

# The model must be registered before the architectures, which refer to it.
from fairseq_lrn.models.reading.reader import LRNReader  # isort: skip
from fairseq_lrn.models.reading import architectures  # noqa: F401  isort: skip

__all__ = ["LRNReader"]
