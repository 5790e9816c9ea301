"""fairseq's label-smoothed cross entropy, fused with the output layer."""

import inspect
import logging
import math
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Tuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.models import FairseqLanguageModel
from torch import Tensor, nn

from fairseq_lrn.criterions.autocast import (
    AUTOCAST_HELP,
    AUTOCAST_TYPES,
    checked_autocast,
    training_precision,
)
from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import (
    check_label_smoothing,
    masked_tokens,
)
from fairseq_lrn.modules.data_parallel import seem_unused, unwrapped
from fairseq_lrn.ops import linear_cross_entropy
from fairseq_lrn.options import check_minimum

logger = logging.getLogger(__name__)


@dataclass
class FusedLabelSmoothedCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """Options of ``--criterion fused_label_smoothed_cross_entropy``, in addition to fairseq's."""

    autocast: ChoiceEnum(AUTOCAST_TYPES) = field(default="none", metadata={"help": AUTOCAST_HELP})
    rdrop_alpha: float = field(
        default=0.0,
        metadata={"help": "weight of R-Drop; 0: no R-Drop. R-Drop runs each batch twice"},
    )
    rdrop_from_update: int = field(
        default=0,
        metadata={"help": "R-Drop begins after this number of updates; training is faster before"},
    )


@register_criterion(
    "fused_label_smoothed_cross_entropy", dataclass=FusedLabelSmoothedCrossEntropyConfig
)
class FusedLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """fairseq's ``label_smoothed_cross_entropy``: the same loss and gradients, computed faster.

    Logits are computed and used block by block, and are not computed at padding
    (:func:`~fairseq_lrn.ops.linear_cross_entropy`). This is possible for a model with two
    properties:

    - Its output layer is a single matrix product. The method ``output_table`` of the decoder
      returns the matrix (:meth:`fairseq_lrn.models.base.RecurrentDecoder.output_table`).
    - It returns the features that this matrix multiplies. Its ``forward`` takes
      ``features_only=True``, or it has a method ``batch_features``, which returns a function from
      the ``net_input`` of a batch to the features and the other results of the decoder.

    The models of this package have both properties, except with ``--mask-extra-symbols`` or
    adaptive softmax. :mod:`fairseq_lrn.compat.fused_loss` adds the methods to fairseq's
    ``transformer`` and ``lstm``; the ``lstm`` needs a shared output matrix and a single process.
    For all other models, and with ``--report-accuracy``, fairseq's own code computes the loss.

    With ``--rdrop-alpha``, training adds the divergence between two passes with different dropout
    (Liang et al., 2021, "R-Drop").

    Raises:
        ValueError: an option has an invalid value or conflicts with another.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        autocast="none",
        rdrop_alpha=0.0,
        rdrop_from_update=0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        check_label_smoothing(label_smoothing)
        check_minimum(0, rdrop_alpha=rdrop_alpha, rdrop_from_update=rdrop_from_update)
        if rdrop_from_update > 0 and rdrop_alpha == 0.0:
            raise ValueError(
                f"--rdrop-from-update {rdrop_from_update} has no effect without --rdrop-alpha: "
                "give --rdrop-alpha, too"
            )
        self.autocast = checked_autocast(autocast)
        self.rdrop_alpha = rdrop_alpha
        self.rdrop_from_update = rdrop_from_update
        self.num_updates = 0
        self.unfused_reason = ""  # logged once

    def follow_updates(self, num_updates: int) -> None:
        """Called by fairseq's trainer, see :mod:`fairseq_lrn.compat.criterion_updates`."""
        self.num_updates = num_updates

    def forward(self, model, sample, reduce=True):
        """Loss, sample size, logging output: see :class:`fairseq.criterions.FairseqCriterion`."""
        with training_precision(self.autocast, model, sample["target"].device):
            weight, reason = output_table(model)
            if self.report_accuracy:
                reason = "--report-accuracy reads the logits"
            if not reason and reduce:
                return self._fused(model, sample, weight)
            if self.rdrop_alpha > 0.0 and model.training:
                if isinstance(unwrapped(model), FairseqLanguageModel):
                    raise ValueError(
                        f"--rdrop-alpha {self.rdrop_alpha} is not available for language models: "
                        "leave it out"
                    )
                remedy = "use --criterion label_smoothed_cross_entropy_with_rdrop"
                if _batch_features(unwrapped(model)) is not None:
                    # The encoder of fairseq's lstm refuses the unsorted batches of that criterion.
                    remedy = (
                        "train lstm in one process, with --share-decoder-input-output-embed and "
                        "without --report-accuracy"
                    )
                raise ValueError(
                    f"--rdrop-alpha needs the fused loss, but {reason or 'it is not reduced'}; "
                    + remedy
                )
            if reason and reason != self.unfused_reason:
                logger.info("the loss is not fused: %s", reason)
                self.unfused_reason = reason
            return super().forward(model, sample, reduce)

    def compute_loss(self, model, net_output, sample, reduce=True):
        """As in fairseq, but tokens that have no probability get no share of the smoothing."""
        lprobs, target = self.get_lprobs_and_target(model, net_output, sample)  # N x V, N
        masked = masked_tokens(model) if self.eps > 0.0 else None
        if masked is not None:
            lprobs = lprobs.masked_fill(masked, 0.0)
        return label_smoothed_nll_loss(
            lprobs, target, self.eps, ignore_index=self.padding_idx, reduce=reduce
        )

    def _fused(self, model, sample, weight: Tensor):
        """Like :meth:`forward`, for a model with the output matrix *weight*, ``V x C``."""
        alpha = 0.0
        if model.training and self.num_updates >= self.rdrop_from_update:
            alpha = self.rdrop_alpha
        net_input = sample["net_input"]
        if alpha > 0.0:
            net_input = {
                name: torch.cat([value, value]) if torch.is_tensor(value) else value
                for name, value in net_input.items()
            }
        features, extra = _features(model, net_input)
        target = model.get_targets(sample, (features, extra))
        if self.ignore_prefix_size > 0:
            features = features[:, self.ignore_prefix_size :]
            target = target[:, self.ignore_prefix_size :]
        # P*B x T x C to P x T x B x C, for P passes over the B sentences. Time comes first inside
        # the decoders, so this copies nothing without R-Drop.
        passes = features.transpose(0, 1).unflatten(1, (-1, target.size(0))).transpose(0, 1)
        loss, nll_loss, divergence = linear_cross_entropy(
            passes.flatten(1, 2),  # P x T x B x C to P x T*B x C
            weight,
            target.t().flatten(),  # B x T to T*B
            self.eps,
            ignore_index=self.padding_idx,
            rdrop_alpha=alpha,
        )
        sample_size = target.size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "nll_loss": nll_loss,
            "ntokens": sample["ntokens"],
            "nsentences": target.size(0),
            "sample_size": sample_size,
        }
        if alpha > 0.0:
            # The mean of the two passes is comparable with the value in validation.
            logging_output["nll_loss"] = nll_loss / 2
            logging_output["rdrop_kl_loss"] = divergence
        return loss, sample_size, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Aggregate logging outputs. The divergence of R-Drop is in base 2, like the losses."""
        super().reduce_metrics(logging_outputs)
        divergence = sum(log.get("rdrop_kl_loss", 0.0) for log in logging_outputs)
        if divergence > 0.0:
            sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
            metrics.log_scalar(
                "rdrop_kl_loss", divergence / sample_size / math.log(2), sample_size, round=3
            )


def output_table(model: nn.Module) -> Tuple[Optional[Tensor], str]:
    """The matrix ``V x C`` that maps the decoder's features to logits, if the loss can be fused.

    Args:
        model: the model, possibly wrapped for data-parallel training.

    Returns:
        the matrix and an empty string, or None and the reason why the loss cannot be fused.
    """
    inner = unwrapped(model)
    decoder = getattr(inner, "decoder", None)
    if not hasattr(decoder, "output_table"):
        return None, "the model's decoder does not name its output matrix"
    table, reason = decoder.output_table()
    if table is None:
        return None, reason
    if seem_unused(model, [table]):
        return None, "with --find-unused-parameters, the output matrix must be an embedding matrix"
    if _takes_features_only(inner):
        return table, ""
    if _batch_features(inner) is None:
        return None, "the model does not return its features"
    if model is not inner:
        return None, "the model is wrapped for several processes and does not return its features"
    return table, ""


def _takes_features_only(model: nn.Module) -> bool:
    return "features_only" in inspect.signature(model.forward).parameters


def _batch_features(model: nn.Module) -> Optional[Callable]:
    """The function that the model's method ``batch_features`` returns; None if it has none."""
    return model.batch_features() if hasattr(model, "batch_features") else None


def _features(model: nn.Module, net_input) -> Tuple[Tensor, Any]:
    """The input of the output layer, ``B x T x C``, and the other results of the decoder."""
    inner = unwrapped(model)
    if _takes_features_only(inner):
        return model(**net_input, features_only=True)
    return _batch_features(inner)(net_input)
