"""fairseq's label-smoothed cross entropy, fused with the output layer."""

import inspect
import logging
from dataclasses import dataclass, field
from typing import Optional, Tuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum
from torch import Tensor, nn

from fairseq_lrn.ops import linear_cross_entropy

logger = logging.getLogger(__name__)

AUTOCAST_TYPES = ("none", "bfloat16")


@dataclass
class FusedLabelSmoothedCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of ``--criterion fused_label_smoothed_cross_entropy``, beside those of fairseq's."""

    autocast: ChoiceEnum(AUTOCAST_TYPES) = field(
        default="none",
        metadata={
            "help": "bfloat16: in training, torch's autocast computes matrix products in it; "
            "parameters, recurrence and loss stay in float32"
        },
    )


@register_criterion(
    "fused_label_smoothed_cross_entropy", dataclass=FusedLabelSmoothedCrossEntropyConfig
)
class FusedLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """fairseq's ``label_smoothed_cross_entropy``: the same loss and gradients, in less time.

    Logits are computed, used and forgotten block by block, and not at all at padding
    (:func:`~fairseq_lrn.ops.linear_cross_entropy`). That takes a model whose decoder makes
    features and multiplies them by one table: ours, and fairseq's ``transformer``. With others,
    with ``--report-accuracy`` and with adaptive softmax it computes what fairseq's does, as
    fairseq does.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        autocast="none",
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if str(autocast) not in AUTOCAST_TYPES:
            raise ValueError(f"--autocast must be one of {AUTOCAST_TYPES}, not {autocast}")
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                f"--label-smoothing must be at least 0 and below 1, not {label_smoothing}"
            )
        self.autocast = str(autocast)
        self.unfused_reason = None  # logged once

    def forward(self, model, sample, reduce=True):
        """See :class:`fairseq.criterions.FairseqCriterion`: loss, sample size, what is logged."""
        enabled = self.autocast != "none" and model.training
        with torch.autocast(sample["target"].device.type, torch.bfloat16, enabled=enabled):
            weight, reason = output_table(model)
            if self.report_accuracy:
                reason = "--report-accuracy reads the logits"
            if reason is None and reduce:
                return self._fused(model, sample, weight)
            if reason != self.unfused_reason and reason is not None:
                logger.info("the loss is not fused: %s", reason)
                self.unfused_reason = reason
            return super().forward(model, sample, reduce)

    def _fused(self, model, sample, weight: Tensor):
        features, extra = model(**sample["net_input"], features_only=True)
        target = model.get_targets(sample, (features, extra))
        if self.ignore_prefix_size > 0:
            features, target = (one[:, self.ignore_prefix_size :] for one in (features, target))
        # Time first, as the decoders have them: nothing is copied.
        loss, nll_loss = linear_cross_entropy(
            features.transpose(0, 1).flatten(0, 1),
            weight,
            target.t().flatten(),
            self.eps,
            ignore_index=self.padding_idx,
        )
        sample_size = target.size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "nll_loss": nll_loss,
            "ntokens": sample["ntokens"],
            "nsentences": target.size(0),
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output


def output_table(model: nn.Module) -> Tuple[Optional[Tensor], Optional[str]]:
    """The table ``V x C`` that makes logits of the decoder's features, or None and why not."""
    decoder = getattr(model, "decoder", None)
    projection = getattr(decoder, "output_projection", None)
    if type(projection) is not nn.Linear or projection.bias is not None:
        return None, "the model's output layer is not one matrix without bias"
    if getattr(decoder, "adaptive_softmax", None) is not None:
        return None, "the model has an adaptive softmax"
    if getattr(decoder, "masks_symbols", False):
        return None, "the model masks symbols"
    if "features_only" not in inspect.signature(decoder.forward).parameters:
        return None, "the model does not give its features"
    return projection.weight, None
