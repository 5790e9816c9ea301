"""Losses, optimiser and learning rates for fairseq. Importing this registers them."""

from fairseq_lrn.training.adam import TorchAdam
from fairseq_lrn.training.criterion import SentenceLabelSmoothedCrossEntropy
from fairseq_lrn.training.fused_criterion import FusedLabelSmoothedCrossEntropy
from fairseq_lrn.training.lr_schedule import GNMTPlusSchedule, InverseSqrtCooldownSchedule

__all__ = [
    "FusedLabelSmoothedCrossEntropy",
    "GNMTPlusSchedule",
    "InverseSqrtCooldownSchedule",
    "SentenceLabelSmoothedCrossEntropy",
    "TorchAdam",
]
