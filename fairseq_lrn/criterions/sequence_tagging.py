"""The loss of taggers, with the F1 of entities in validation."""

from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II

from fairseq_lrn.criterions.autocast import (
    AUTOCAST_HELP,
    AUTOCAST_TYPES,
    checked_autocast,
    training_precision,
)
from fairseq_lrn.modules.data_parallel import unwrapped


@dataclass
class SequenceTaggingConfig(FairseqDataclass):
    """Options of ``--criterion sequence_tagging``."""

    sentence_avg: bool = II("optimization.sentence_avg")
    autocast: ChoiceEnum(AUTOCAST_TYPES) = field(default="none", metadata={"help": AUTOCAST_HELP})


@register_criterion("sequence_tagging", dataclass=SequenceTaggingConfig)
class SequenceTaggingCriterion(FairseqCriterion):
    """Negative log-likelihood of the right tags, of a model with a CRF.

    The loss is the mean of a word, or with ``--sentence-avg`` the mean of a text. Validation logs
    ``accuracy`` (share of words with the right tag) and ``precision``, ``recall`` and ``f1`` of
    entities, in percent, over all texts. An entity is correct if its type, start and end are.
    Choose checkpoints with ``--best-checkpoint-metric f1 --maximize-best-checkpoint-metric``.

    Raises:
        ValueError: an option has an invalid value.
    """

    def __init__(self, task: Any, sentence_avg: bool, autocast: str = "none"):
        super().__init__(task)
        self.sentence_avg = sentence_avg
        self.autocast = checked_autocast(autocast)

    def forward(self, model, sample, reduce=True):
        """Loss, sample size, logging output: see :class:`fairseq.criterions.FairseqCriterion`."""
        with training_precision(self.autocast, model, sample["target"].device):
            scores, extra = model(**sample["net_input"], target=sample["target"])
        nll = extra["nll"]  # B
        loss = nll.sum() if reduce else nll
        sample_size = sample["nsentences"] if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
        }
        if not model.training:
            logging_output.update(self._counts(model, sample, scores, extra["padding_mask"]))
        return loss, sample_size, logging_output

    @torch.no_grad()
    def _counts(self, model, sample, scores, padding_mask) -> Dict[str, int]:
        predicted = unwrapped(model).decode(scores, padding_mask)  # B x T
        is_word = ~padding_mask.t()  # T x B to B x T
        right, guesses = (
            [tags[kept].tolist() for tags, kept in zip(batch, is_word)]
            for batch in (sample["target"], predicted)
        )
        counts = self.task.count_entities(right, guesses)
        return {
            **{f"entities_{name}": value for name, value in counts._asdict().items()},
            "right_tags": int((predicted.eq(sample["target"]) & is_word).sum()),
        }

    @classmethod
    def reduce_metrics(cls, logging_outputs: List[Dict[str, Any]]) -> None:
        """Aggregate logging outputs. The loss is in nats."""
        total = {
            name: sum(log.get(name, 0) for log in logging_outputs)
            for name in ("loss", "sample_size", "ntokens")
        }
        metrics.log_scalar(
            "loss", total["loss"] / total["sample_size"], total["sample_size"], round=4
        )
        if not any("entities_right" in log for log in logging_outputs):
            return
        # Sums over all batches: the F1 of the whole subset is not a mean of the F1 of batches.
        for name in ("entities_right", "entities_predicted", "entities_correct", "right_tags"):
            metrics.log_scalar_sum(f"_{name}", sum(log.get(name, 0) for log in logging_outputs))
        metrics.log_scalar_sum("_words", total["ntokens"])
        metrics.log_derived("accuracy", lambda meters: percent(meters, "_right_tags", "_words"))
        metrics.log_derived(
            "precision", lambda meters: percent(meters, "_entities_correct", "_entities_predicted")
        )
        metrics.log_derived(
            "recall", lambda meters: percent(meters, "_entities_correct", "_entities_right")
        )
        metrics.log_derived("f1", f1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All logging outputs are numbers whose sums are logged."""
        return True


def percent(meters: Any, part: str, whole: str) -> float:
    """*part* in percent of *whole*, both sums over a subset; 0 if there is nothing."""
    # Sums over several processes are tensors.
    total = float(meters[whole].sum)
    return round(100.0 * float(meters[part].sum) / total, 2) if total > 0 else 0.0


def f1(meters: Any) -> float:
    """F1 of entities in percent: the harmonic mean of precision and recall, over all texts."""
    total = float(meters["_entities_right"].sum + meters["_entities_predicted"].sum)
    correct = float(meters["_entities_correct"].sum)
    return round(200.0 * correct / total, 2) if total > 0 else 0.0
