"""fairseq tasks. Importing this package registers them."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()

from fairseq_lrn.tasks.sequence_tagging import SequenceTaggingTask  # noqa: E402
from fairseq_lrn.tasks.span_prediction import SpanPredictionTask  # noqa: E402
from fairseq_lrn.tasks.stateful_language_modeling import (  # noqa: E402
    StatefulLanguageModelingTask,
)
from fairseq_lrn.tasks.text_classification import TextClassificationTask  # noqa: E402
from fairseq_lrn.tasks.translation import LRNTranslationTask  # noqa: E402

__all__ = [
    "LRNTranslationTask",
    "SequenceTaggingTask",
    "SpanPredictionTask",
    "StatefulLanguageModelingTask",
    "TextClassificationTask",
]
