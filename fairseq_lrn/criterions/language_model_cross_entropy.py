"""Cross entropy of a language model, with regularisation of its activations."""

from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch.distributed as dist
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass import ChoiceEnum
from omegaconf import II
from torch import Tensor, nn

from fairseq_lrn.criterions.autocast import (
    AUTOCAST_HELP,
    AUTOCAST_TYPES,
    checked_autocast,
    training_precision,
)
from fairseq_lrn.modules.data_parallel import seem_unused, unwrapped
from fairseq_lrn.ops import linear_cross_entropy
from fairseq_lrn.options import check_minimum

TORCH_BACKENDS = ("c10d", "pytorch_ddp")


@dataclass
class LanguageModelCrossEntropyConfig(CrossEntropyCriterionConfig):
    """Options of ``--criterion language_model_cross_entropy``, in addition to fairseq's."""

    activation_reg: float = field(
        default=0.0,
        metadata={"help": "weight of activation regularisation: the mean square of the features"},
    )
    temporal_activation_reg: float = field(
        default=0.0,
        metadata={
            "help": "weight of temporal activation regularisation: the mean square of the "
            "features' change from token to token"
        },
    )
    autocast: ChoiceEnum(AUTOCAST_TYPES) = field(default="none", metadata={"help": AUTOCAST_HELP})
    ddp_backend: str = II("distributed_training.ddp_backend")


@register_criterion("language_model_cross_entropy", dataclass=LanguageModelCrossEntropyConfig)
class LanguageModelCrossEntropy(CrossEntropyCriterion):
    """fairseq's ``cross_entropy`` for ``lrn_lm``, computed faster and with two regularisers.

    Logits are computed and used block by block (:func:`~fairseq_lrn.ops.linear_cross_entropy`),
    unless the model has a mixture of softmaxes or an output bias. In training, activation
    regularisation adds the mean square of the last layer's output after dropout, and temporal
    activation regularisation adds the mean square of the change of its output before dropout. Both
    are weighted like the mean loss of a token. The logged loss contains them, ``nll_loss`` and
    perplexity do not.

    Raises:
        ValueError: an option has an invalid value or conflicts with the model.

    Source: Merity et al. (2018), section 4.6, for the regularisers.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        activation_reg=0.0,
        temporal_activation_reg=0.0,
        autocast="none",
        ddp_backend="legacy_ddp",
    ):
        super().__init__(task, sentence_avg)
        check_minimum(
            0, activation_reg=activation_reg, temporal_activation_reg=temporal_activation_reg
        )
        self.activation_reg = activation_reg
        self.temporal_activation_reg = temporal_activation_reg
        self.autocast = checked_autocast(autocast)
        self.ddp_backend = str(ddp_backend)

    def forward(self, model, sample, reduce=True):
        """Loss, sample size, logging output: see :class:`fairseq.criterions.FairseqCriterion`."""
        decoder = getattr(unwrapped(model), "decoder", None)
        if not hasattr(decoder, "has_plain_output_layer"):
            raise ValueError(
                "--criterion language_model_cross_entropy is for --arch lrn_lm only: for other "
                "language models, give --criterion cross_entropy"
            )
        if seem_unused(model, _output_parameters(decoder)):
            raise ValueError(
                "--find-unused-parameters cannot train this output layer, because only the loss "
                "uses its parameters: leave the option out"
            )
        with training_precision(self.autocast, model, sample["target"].device):
            features, extra = model(**sample["net_input"], features_only=True)  # B x T x C
            nll = self._nll(model, features, extra, sample, reduce)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        loss = nll
        if model.training:
            loss = nll + sample["ntokens"] * self._regularisation(features, extra)
        logging_output = {
            "loss": loss.detach(),
            "nll_loss": nll.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output

    def _nll(self, model, features: Tensor, extra: Dict[str, Any], sample, reduce: bool) -> Tensor:
        """The negative log-likelihood in nats: a sum, or ``B*T`` if not *reduce*."""
        decoder = unwrapped(model).decoder
        target = unwrapped(model).get_targets(sample, None)  # B x T
        if reduce and decoder.adaptive_softmax is not None:
            self._check_backend(decoder.adaptive_softmax)
            return decoder.adaptive_softmax.nll(features, target, self.padding_idx)
        if not reduce or not decoder.has_plain_output_layer():
            logits = decoder.output_layer(features)
            lprobs = unwrapped(model).get_normalized_probs((logits, extra), True, sample)
            return F.nll_loss(
                lprobs.flatten(0, 1).float(),  # B x T x V to B*T x V
                target.flatten(),
                ignore_index=self.padding_idx,
                reduction="sum" if reduce else "none",
            )
        weight, _ = decoder.class_weights()
        start, _ = decoder.classes
        # Time comes first inside of the decoder, so this copies nothing: B x T x C to T*B x C.
        return linear_cross_entropy(
            features.transpose(0, 1).flatten(0, 1),
            weight,
            target.t().flatten() - start,  # B x T to T*B
            ignore_index=self.padding_idx - start,
        )[0]

    def _check_backend(self, softmax: Any) -> None:
        """As in fairseq's ``adaptive_loss``: torch expects gradients of all tails."""
        is_distributed = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if is_distributed and softmax.table is None and self.ddp_backend in TORCH_BACKENDS:
            raise ValueError(
                f"--ddp-backend {self.ddp_backend} cannot train adaptive softmax, unless it shares "
                "the embedding matrix: give --ddp-backend legacy_ddp"
            )

    def _regularisation(self, features: Tensor, extra: Dict[str, Any]) -> Tensor:
        total = features.new_zeros(())
        if self.activation_reg > 0.0:
            total = total + self.activation_reg * features.float().pow(2).mean()
        outputs = extra["features"]
        if self.temporal_activation_reg > 0.0 and outputs.size(1) > 1:
            change = outputs[:, 1:] - outputs[:, :-1]
            total = total + self.temporal_activation_reg * change.float().pow(2).mean()
        return total

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Aggregate logging outputs. Losses are in base 2; perplexity is that of ``nll_loss``."""
        LabelSmoothedCrossEntropyCriterion.reduce_metrics(logging_outputs)


def _output_parameters(decoder: Any) -> List[nn.Parameter]:
    """The parameters that :class:`LanguageModelCrossEntropy` uses outside of ``forward``."""
    parts = (decoder.output_projection, decoder.mixture, decoder.adaptive_softmax)
    return [parameter for part in parts if part is not None for parameter in part.parameters()]
