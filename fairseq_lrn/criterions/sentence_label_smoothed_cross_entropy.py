"""The authors' loss: label smoothing with its normaliser, averaged for each sentence."""

import math
from typing import Optional, Tuple

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import Tensor


@register_criterion(
    "sentence_label_smoothed_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig
)
class SentenceLabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross entropy, a mean over sentences of means over their tokens.

    It differs from fairseq's ``label_smoothed_cross_entropy``:

    - every sentence counts the same, however long: the loss of a batch is the mean over its
      sentences of the mean over their tokens (``--sentence-avg`` is of no importance);
    - the smoothed distribution gives 1 - eps to the right symbol and eps / (V - 1) to each other
      one, with V the number of symbols that can have a probability
      (``--mask-extra-symbols`` of ``lrn_rnmt`` leaves some out);
    - its entropy is subtracted, so that a perfect prediction has a loss of 0.

    Logged as fairseq's: loss and nll_loss in base 2, nll_loss for each token.

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
        """See :class:`fairseq.criterions.FairseqCriterion`: loss, sample size, what is logged.

        The sample size is the number of sentences, so that their mean is taken over all
        processes and updates that are accumulated.
        """
        net_output = model(**sample["net_input"])
        lprobs = model.get_normalized_probs(net_output, log_probs=True)
        target = model.get_targets(sample, net_output)
        if self.ignore_prefix_size > 0:
            lprobs, target = (one[:, self.ignore_prefix_size :] for one in (lprobs, target))
        decoder = getattr(model, "decoder", None)
        extra_symbols = decoder.extra_symbols if getattr(decoder, "masks_symbols", False) else None
        token_loss, nll_loss = smoothed_loss(lprobs, target, self.eps, extra_symbols)
        is_token = target.ne(self.padding_idx)
        lengths = is_token.sum(1).clamp(min=1)
        loss = (token_loss * is_token).sum(1) / lengths
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


def check_label_smoothing(label_smoothing: float) -> None:
    """Refuse what would be no distribution.

    Raises:
        ValueError: it is not from 0 to below 1.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"--label-smoothing must be at least 0 and below 1, not {label_smoothing}")


def smoothed_loss(
    lprobs: Tensor, target: Tensor, eps: float, extra_symbols: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """Loss of each token in nats, with label smoothing and without.

    Args:
        lprobs: log probabilities, ``... x V``.
        target: symbols, ``...``.
        eps: label smoothing; outside of (0, 1) there is none.
        extra_symbols: ``V``, true for symbols that never get any probability and do not count.

    Returns:
        smoothed cross entropy minus the entropy of the smoothed distribution, and plain cross
        entropy, both ``...``.
    """
    nll_loss = -lprobs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    if not 0.0 < eps < 1.0:
        return nll_loss, nll_loss
    others = torch.tensor(lprobs.size(-1) - 1.0, dtype=lprobs.dtype, device=lprobs.device)
    if extra_symbols is not None:
        others = others - extra_symbols.sum()
        lprobs = lprobs.masked_fill(extra_symbols, 0.0)
    rest = eps / others
    loss = (1.0 - eps - rest) * nll_loss - rest * lprobs.sum(-1)
    entropy = -((1.0 - eps) * math.log(1.0 - eps) + eps * torch.log(rest + 1e-20))
    return loss - entropy, nll_loss
