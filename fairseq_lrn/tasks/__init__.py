"""fairseq tasks. Importing this package registers them."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()

from fairseq_lrn.tasks.stateful_language_modeling import (  # noqa: E402
    StatefulLanguageModelingTask,
)
from fairseq_lrn.tasks.translation import LRNTranslationTask  # noqa: E402

__all__ = ["LRNTranslationTask", "StatefulLanguageModelingTask"]
