"""The loss of readers, with exact match and F1 of answers in validation."""

from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics

from fairseq_lrn.criterions.autocast import (
    AUTOCAST_HELP,
    AUTOCAST_TYPES,
    checked_autocast,
    training_precision,
)
from fairseq_lrn.modules.answer_pointer import best_spans


@dataclass
class SpanPredictionCriterionConfig(FairseqDataclass):
    """Options of ``--criterion span_prediction``."""

    autocast: ChoiceEnum(AUTOCAST_TYPES) = field(default="none", metadata={"help": AUTOCAST_HELP})


@register_criterion("span_prediction", dataclass=SpanPredictionCriterionConfig)
class SpanPredictionCriterion(FairseqCriterion):
    """Negative log-likelihood of the first and of the last word of the answer.

    The loss is the mean over questions of the sum of both. Validation logs ``em`` and ``f1`` in
    percent, the exact match and the F1 of the official script of SQuAD 1.1, over all questions.
    Choose checkpoints with ``--best-checkpoint-metric f1 --maximize-best-checkpoint-metric``.

    Raises:
        ValueError: the option has an invalid value.
    """

    def __init__(self, task: Any, autocast: str = "none"):
        super().__init__(task)
        self.autocast = checked_autocast(autocast)

    def forward(self, model, sample, reduce=True):
        """Loss, sample size, logging output: see :class:`fairseq.criterions.FairseqCriterion`."""
        target = sample["target"]  # B x 2
        with training_precision(self.autocast, model, target.device):
            first, last = model(**sample["net_input"])  # B x T each
        nll = F.cross_entropy(first, target[:, 0], reduction="none")
        nll = nll + F.cross_entropy(last, target[:, 1], reduction="none")  # B
        loss = nll.sum() if reduce else nll
        sample_size = sample["nsentences"]
        logging_output = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
        }
        # In training, a process that has no batch left gets the first one of the validation data.
        if not model.training and "references" in sample:
            logging_output.update(self._scores(sample, first, last))
        return loss, sample_size, logging_output

    @torch.no_grad()
    def _scores(self, sample, first, last) -> Dict[str, float]:
        distance = self.task.cfg.max_answer_distance
        starts, ends, _ = best_spans(first, last, distance)
        spans = list(zip(starts.tolist(), ends.tolist()))
        scores = self.task.score(sample["references"], spans)
        return {"exact_match": scores.exact_match, "f1": scores.f1}

    @classmethod
    def reduce_metrics(cls, logging_outputs: List[Dict[str, Any]]) -> None:
        """Aggregate logging outputs. The loss is in nats."""

        def total(name: str) -> float:
            return sum(log.get(name, 0) for log in logging_outputs)

        questions = total("sample_size")
        metrics.log_scalar("loss", total("loss") / questions, questions, round=4)
        if any("exact_match" in log for log in logging_outputs):
            metrics.log_scalar("em", 100 * total("exact_match") / questions, questions, round=2)
            metrics.log_scalar("f1", 100 * total("f1") / questions, questions, round=2)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All logging outputs are numbers whose sums are logged."""
        return True
