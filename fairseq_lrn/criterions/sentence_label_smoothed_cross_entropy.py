"""The authors' loss: label-smoothed cross entropy in which every sentence has the same weight."""

import math
from typing import Optional, Tuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import Tensor

from fairseq_lrn.modules.data_parallel import unwrapped


@register_criterion(
    "sentence_label_smoothed_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig
)
class SentenceLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross entropy: the mean over sentences of the mean over their tokens.

    It differs from fairseq's ``label_smoothed_cross_entropy`` in three ways:

    - Every sentence has the same weight, regardless of its length. The loss of a batch is the mean
      over its sentences of the mean over their tokens. ``--sentence-avg`` has no effect.
    - The smoothed distribution gives 1 - eps to the correct token and eps / (V - 1) to each other
      token. V counts only the tokens that can have a probability: ``--mask-extra-symbols`` of
      ``lrn_rnmt`` masks some.
    - The entropy of the smoothed distribution is subtracted, so the loss of a perfect prediction
      is 0.

    The logged values are those of fairseq's criterion: loss and nll_loss in base 2, nll_loss per
    token.

    Raises:
        ValueError: the label smoothing is not at least 0 and below 1.

    Source: the authors' toolkit (bzhangGo/zero, ``utils/util.py: label_smooth``,
    ``models/deepnmt.py``).
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        check_label_smoothing(label_smoothing)

    def forward(self, model, sample, reduce=True):
        """Loss, sample size, logging output: see :class:`fairseq.criterions.FairseqCriterion`.

        The sample size is the number of sentences, so fairseq averages over the sentences of all
        processes and accumulated batches.
        """
        net_output = model(**sample["net_input"])
        lprobs = model.get_normalized_probs(net_output, log_probs=True)  # B x T x V
        target = model.get_targets(sample, net_output)  # B x T
        if self.ignore_prefix_size > 0:
            lprobs = lprobs[:, self.ignore_prefix_size :]
            target = target[:, self.ignore_prefix_size :]
        token_loss, nll_loss = smoothed_loss(lprobs, target, self.eps, masked_tokens(model))
        is_token = target.ne(self.padding_idx)
        lengths = is_token.sum(1).clamp(min=1)
        loss = (token_loss * is_token).sum(1) / lengths  # B
        sample_size = target.size(0)
        logging_output = {
            "loss": loss.detach().sum(),
            "nll_loss": (nll_loss * is_token).detach().sum(),
            "ntokens": sample["ntokens"],
            "nsentences": sample_size,
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            correct, total = self.compute_accuracy(model, net_output, sample)
            logging_output["n_correct"] = correct.item()
            logging_output["total"] = total.item()
        return loss.sum() if reduce else loss, sample_size, logging_output


def masked_tokens(model) -> Optional[Tensor]:
    """The tokens whose probability is always 0.

    Args:
        model: any model, possibly wrapped for data-parallel training.

    Returns:
        ``V``, true at these tokens (see
        :meth:`fairseq_lrn.models.base.RecurrentDecoder.masked_tokens`); None if there are none.
    """
    decoder = getattr(unwrapped(model), "decoder", None)
    return decoder.masked_tokens() if hasattr(decoder, "masked_tokens") else None


def check_label_smoothing(label_smoothing: float) -> None:
    """Refuse a label smoothing that gives no distribution.

    Raises:
        ValueError: the value is not at least 0 and below 1.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"--label-smoothing must be at least 0 and below 1, not {label_smoothing}")


def smoothed_loss(
    lprobs: Tensor, target: Tensor, eps: float, masked_tokens: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """The loss of each token in nats, with and without label smoothing.

    Args:
        lprobs: log probabilities, ``... x V``.
        target: tokens, ``...``.
        eps: label smoothing; a value outside (0, 1) turns it off.
        masked_tokens: ``V``, true at tokens whose probability is always 0. They get no share of
            the label smoothing.

    Returns:
        smoothed cross entropy minus the entropy of the smoothed distribution, ``...``, and plain
        cross entropy, ``...``.
    """
    nll_loss = -lprobs.gather(-1, target.unsqueeze(-1)).squeeze(-1)  # ... x 1 to ...
    if not 0.0 < eps < 1.0:
        return nll_loss, nll_loss
    num_others = torch.tensor(lprobs.size(-1) - 1.0, dtype=lprobs.dtype, device=lprobs.device)
    if masked_tokens is not None:
        num_others = num_others - masked_tokens.sum()
        lprobs = lprobs.masked_fill(masked_tokens, 0.0)
    share = eps / num_others  # probability of each wrong token
    loss = (1.0 - eps - share) * nll_loss - share * lprobs.sum(-1)
    entropy = -((1.0 - eps) * math.log(1.0 - eps) + eps * torch.log(share + 1e-20))
    return loss - entropy, nll_loss
