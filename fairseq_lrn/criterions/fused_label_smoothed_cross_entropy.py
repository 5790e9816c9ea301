"""fairseq's label-smoothed cross entropy, fused with the output layer."""

import contextlib
import inspect
import logging
import math
from dataclasses import dataclass, field
from typing import Any, Optional, Tuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.models.lstm import LSTMDecoder, LSTMModel
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor, nn

from fairseq_lrn.models.translation.lrn_model import LRNDecoder
from fairseq_lrn.models.translation.rnmt_model import RNMTDecoder
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.ops import linear_cross_entropy
from fairseq_lrn.ops.cpu import keep_onednn_kernels
from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import check_label_smoothing

logger = logging.getLogger(__name__)

# They multiply the features by one table, and do nothing else.
PLAIN_OUTPUT_LAYERS = (
    LRNDecoder.output_layer,
    LSTMDecoder.output_layer,
    RNMTDecoder.output_layer,
    TransformerDecoderBase.output_layer,
)
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
    rdrop_alpha: float = field(
        default=0.0,
        metadata={"help": "alpha for r-drop, 0 means no r-drop; it passes each batch twice"},
    )
    rdrop_from_update: int = field(
        default=0,
        metadata={"help": "r-drop begins after so many updates; before, training is faster"},
    )


@register_criterion(
    "fused_label_smoothed_cross_entropy", dataclass=FusedLabelSmoothedCrossEntropyConfig
)
class FusedLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """fairseq's ``label_smoothed_cross_entropy``: the same loss and gradients, in less time.

    Logits are computed, used and forgotten block by block, and not at all at padding
    (:func:`~fairseq_lrn.ops.linear_cross_entropy`). That takes a model whose decoder makes
    features and multiplies them by one table: ours, fairseq's ``transformer``, and its ``lstm``
    with a shared table and in one process. With others, with ``--report-accuracy`` and with
    adaptive softmax it computes what fairseq's does, as fairseq does.
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
        if str(autocast) not in AUTOCAST_TYPES:
            raise ValueError(f"--autocast must be one of {AUTOCAST_TYPES}, not {autocast}")
        check_label_smoothing(label_smoothing)
        if rdrop_alpha < 0.0:
            raise ValueError(f"--rdrop-alpha must be at least 0, not {rdrop_alpha}")
        if rdrop_from_update < 0:
            raise ValueError(f"--rdrop-from-update must be at least 0, not {rdrop_from_update}")
        if rdrop_from_update > 0 and rdrop_alpha == 0.0:
            raise ValueError(
                f"--rdrop-from-update {rdrop_from_update} does nothing without --rdrop-alpha: "
                "give that, too"
            )
        self.autocast = str(autocast)
        if self.autocast != "none":
            keep_onednn_kernels()
        self.rdrop_alpha = rdrop_alpha
        self.rdrop_from_update = rdrop_from_update
        self.num_updates = 0
        self.unfused_reason = None  # logged once

    def set_num_updates(self, num_updates: int) -> None:
        """Called by fairseq's trainer (:func:`fairseq_lrn.compat.tell_criterion`)."""
        self.num_updates = num_updates

    def forward(self, model, sample, reduce=True):
        """See :class:`fairseq.criterions.FairseqCriterion`: loss, sample size, what is logged."""
        # Otherwise nothing: an autocast that is off would also turn off that of fairseq's --amp.
        precision = contextlib.nullcontext()
        if self.autocast != "none" and model.training:
            if any(parameter.dtype == torch.float16 for parameter in model.parameters()):
                raise ValueError("--autocast bfloat16 does not go with --fp16: leave one out")
            precision = torch.autocast(sample["target"].device.type, torch.bfloat16)
        with precision:
            weight, reason = output_table(model)
            if self.report_accuracy:
                reason = "--report-accuracy reads the logits"
            if reason is None and reduce:
                return self._fused(model, sample, weight)
            if self.rdrop_alpha > 0.0 and model.training:
                # fairseq's R-Drop gives an encoder sentences that are not in order of length.
                remedy = "use --criterion label_smoothed_cross_entropy_with_rdrop"
                if isinstance(_unwrapped(model), LSTMModel):
                    remedy = (
                        "train lstm in one process, with --share-decoder-input-output-embed and "
                        "without --report-accuracy"
                    )
                raise ValueError(
                    f"--rdrop-alpha needs the fused loss, but {reason or 'it is not reduced'}; "
                    + remedy
                )
            if reason != self.unfused_reason and reason is not None:
                logger.info("the loss is not fused: %s", reason)
                self.unfused_reason = reason
            return super().forward(model, sample, reduce)

    def _fused(self, model, sample, weight: Tensor):
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
            features, target = (one[:, self.ignore_prefix_size :] for one in (features, target))
        # Time first, as the decoders have them: without R-Drop nothing is copied.
        passes = features.transpose(0, 1).unflatten(1, (-1, target.size(0))).transpose(0, 1)
        loss, nll_loss, divergence = linear_cross_entropy(
            passes.flatten(1, 2),
            weight,
            target.t().flatten(),
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
            # The means of the two passes are logged, to be compared with validation.
            logging_output["nll_loss"] = nll_loss / 2
            logging_output["rdrop_kl_loss"] = divergence
        return loss, sample_size, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Aggregate what is logged; the divergence of R-Drop is in base 2, as the losses are."""
        super().reduce_metrics(logging_outputs)
        divergence = sum(log.get("rdrop_kl_loss", 0.0) for log in logging_outputs)
        if divergence > 0.0:
            sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
            metrics.log_scalar(
                "rdrop_kl_loss", divergence / sample_size / math.log(2), sample_size, round=3
            )


def output_table(model: nn.Module) -> Tuple[Optional[Tensor], Optional[str]]:
    """The table ``V x C`` that makes logits of the decoder's features, or None and why not."""
    unwrapped = _unwrapped(model)
    decoder = getattr(unwrapped, "decoder", None)
    output_layer = getattr(type(decoder), "output_layer", None)
    if output_layer is LSTMDecoder.output_layer and decoder.share_input_output_embed:
        projection = decoder.embed_tokens
    else:
        projection = getattr(decoder, "output_projection", None)
        if type(projection) not in (nn.Linear, Linear) or projection.bias is not None:
            return None, "the model's output layer is not one matrix without bias"
    if getattr(decoder, "adaptive_softmax", None) is not None:
        return None, "the model has an adaptive softmax"
    if getattr(decoder, "masks_symbols", False):
        return None, "the model masks symbols"
    if output_layer not in PLAIN_OUTPUT_LAYERS:
        return None, f"the output layer of {type(decoder).__name__} may do more than multiply"
    if _takes_features_only(model):
        return projection.weight, None
    if type(unwrapped).forward is not LSTMModel.forward:
        return None, "the model does not give its features"
    if model is not unwrapped:
        return None, "the model, wrapped for several processes, does not give its features"
    return projection.weight, None


def _takes_features_only(model: nn.Module) -> bool:
    return "features_only" in inspect.signature(_unwrapped(model).forward).parameters


def _features(model: nn.Module, net_input) -> Tuple[Tensor, Any]:
    """What the decoder's output layer would get, ``B x T x C``, and what else the model gives."""
    if _takes_features_only(model):
        return model(**net_input, features_only=True)
    # fairseq's lstm. The two passes of R-Drop, one behind the other, are not sorted by length.
    encoder_out = model.encoder(
        net_input["src_tokens"], src_lengths=net_input["src_lengths"], enforce_sorted=False
    )
    return model.decoder.extract_features(net_input["prev_output_tokens"], encoder_out=encoder_out)


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, which may be wrapped for data parallel training, more than once."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model
