"""Models that tag each word of a text."""

# The model must be registered before the architectures, which refer to it.
from fairseq_lrn.models.tagging.tagger import LRNTagger  # isort: skip
from fairseq_lrn.models.tagging import architectures  # noqa: F401  isort: skip

__all__ = ["LRNTagger"]
