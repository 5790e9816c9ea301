"""What training as in the paper needs beside the model. Importing this registers it."""

from fairseq_lrn.training.criterion import SentenceLabelSmoothedCrossEntropy
from fairseq_lrn.training.lr_schedule import GNMTPlusSchedule

__all__ = ["GNMTPlusSchedule", "SentenceLabelSmoothedCrossEntropy"]
