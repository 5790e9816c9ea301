"""Losses, optimiser and learning rates for fairseq. Importing this registers them."""

from fairseq_lrn.optim.adam import TorchAdam
from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import SentenceLabelSmoothedCrossEntropy
from fairseq_lrn.criterions.fused_label_smoothed_cross_entropy import FusedLabelSmoothedCrossEntropy
from fairseq_lrn.optim.lr_scheduler import GNMTPlusSchedule, InverseSqrtCooldownSchedule

__all__ = [
    "FusedLabelSmoothedCrossEntropy",
    "GNMTPlusSchedule",
    "InverseSqrtCooldownSchedule",
    "SentenceLabelSmoothedCrossEntropy",
    "TorchAdam",
]
