"""fairseq tasks. Importing this package registers them."""

from fairseq_lrn.tasks.translation import LRNTranslationTask

__all__ = ["LRNTranslationTask"]
