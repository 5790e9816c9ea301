"""fairseq criterions. Importing this package registers them."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()

from fairseq_lrn.criterions.fused_label_smoothed_cross_entropy import (  # noqa: E402
    FusedLabelSmoothedCrossEntropy,
)
from fairseq_lrn.criterions.language_model_cross_entropy import (  # noqa: E402
    LanguageModelCrossEntropy,
)
from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import (  # noqa: E402
    SentenceLabelSmoothedCrossEntropy,
)
from fairseq_lrn.criterions.sequence_tagging import SequenceTaggingCriterion  # noqa: E402
from fairseq_lrn.criterions.span_prediction import SpanPredictionCriterion  # noqa: E402

__all__ = [
    "FusedLabelSmoothedCrossEntropy",
    "LanguageModelCrossEntropy",
    "SentenceLabelSmoothedCrossEntropy",
    "SequenceTaggingCriterion",
    "SpanPredictionCriterion",
]
