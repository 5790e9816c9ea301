"""Adaptive softmax over the tokens of a dictionary, alone or with the embedding matrix shared."""

from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from fairseq.modules import AdaptiveSoftmax
from torch import Tensor, nn

from fairseq_lrn.models.decoder_config import DecoderConfig
from fairseq_lrn.ops import linear_cross_entropy

# The logit of a class that never occurs. Its probability is exactly 0, and products with label
# smoothing stay finite.
NEVER = -1e4


def build_adaptive_softmax(
    cfg: DecoderConfig,
    embed_tokens: nn.Embedding,
    num_tokens: int,
    classes: Optional[Tuple[int, int]] = None,
) -> "ClassAdaptiveSoftmax":
    """Adaptive softmax over *num_tokens* tokens, as the options say.

    Args:
        cfg: options.
        embed_tokens: embedding of the decoder. The output layer uses its matrix if the options
            share it.
        num_tokens: number of tokens in the dictionary.
        classes: see :class:`ClassAdaptiveSoftmax`.

    Raises:
        ValueError: a cutoff exceeds the number of tokens.
    """
    cutoffs = cfg.adaptive_softmax_cutoffs()
    if cutoffs[-1] > num_tokens:
        raise ValueError(
            f"--adaptive-softmax-cutoff {cfg.adaptive_softmax_cutoff} exceeds the {num_tokens} "
            "tokens of the dictionary: lower it"
        )
    return ClassAdaptiveSoftmax(
        num_tokens,
        cfg.decoder_embed_dim,
        cutoffs,
        dropout=cfg.adaptive_softmax_dropout,
        factor=cfg.adaptive_softmax_factor,
        shared=embed_tokens.weight if cfg.shares_output_embeddings() else None,
        classes=classes,
    )


class ClassAdaptiveSoftmax(AdaptiveSoftmax):
    """fairseq's adaptive softmax, which can share the embedding matrix and leave tokens out.

    Args:
        num_tokens: number of tokens ``V``.
        width: width of the features ``C``.
        cutoffs: the head and all tails but the last end at these tokens.
        dropout: dropout probability of the features, and inside of the tails.
        factor: each tail is narrower than the one before it by this factor.
        shared: embedding matrix ``V x C``, for the head and all tails. The tails have no maps to
            other widths then, so *factor* must be 1.
        classes: the range of tokens that can have a probability; None: all.

    Source: Grave et al. (2017), Efficient softmax approximation for GPUs.
    """

    def __init__(
        self,
        num_tokens: int,
        width: int,
        cutoffs: List[int],
        dropout: float = 0.0,
        factor: float = 4.0,
        shared: Optional[nn.Parameter] = None,
        classes: Optional[Tuple[int, int]] = None,
    ):
        super().__init__(num_tokens, width, cutoffs, dropout, factor=factor)
        # The tokens of the head and of each tail. fairseq has added the last end.
        bands = list(zip([0, *self.cutoff], self.cutoff))
        self.classes = classes or (0, num_tokens)
        self.table = shared
        if shared is not None:
            self.head = SharedHead(shared, bands[0], len(self.tail))
            self.tail = nn.ModuleList(
                nn.Sequential(nn.Dropout(dropout), SharedTail(shared, band)) for band in bands[1:]
            )
        if shared is not None or classes is not None:
            kept = self.classes
            self.head = nn.Sequential(self.head, KeepClasses(bands[0], kept, len(self.tail)))
            for tail, band in zip(self.tail, bands[1:]):
                tail.append(KeepClasses(band, kept))

    def nll(self, features: Tensor, target: Tensor, ignore_index: int) -> Tensor:
        """The negative log-likelihood of the target tokens in nats, summed.

        fairseq's ``adaptive_loss`` also ignores the token at the position *ignore_index* of each
        tail. This loss does not.

        Args:
            features: ``... x C``.
            target: tokens, ``...``.
            ignore_index: a target without a loss; a token of the head.
        """
        if self.table is not None:
            return self._shared_nll(features, target, ignore_index)
        total = features.new_zeros((), dtype=torch.float32)
        ignored = ignore_index
        for logits, wanted in zip(*self(features, target)):
            if wanted is not None:
                total = total + F.cross_entropy(
                    logits.float(), wanted, ignore_index=ignored, reduction="sum"
                )
            ignored = -100  # the tails count their tokens from 0
        return total

    def _shared_nll(self, features: Tensor, target: Tensor, ignore_index: int) -> Tensor:
        """:meth:`nll` with a shared matrix, without the logits in memory."""
        features = self.dropout_module(features.flatten(0, -2))  # N x C
        targets, rows = self.adapt_target(target.flatten())
        start, end = self.classes
        ends = [start, *(min(max(cutoff, start), end) for cutoff in self.cutoff), len(self.table)]
        # A single split has a much cheaper gradient than a slice for each tail.
        _, head, *tails, _ = self.table.split(
            [last - first for first, last in zip([0, *ends], ends)]
        )
        total, _, _ = linear_cross_entropy(
            features,
            torch.cat([head, self.head[0].tails.weight]),
            targets[0] - start,
            ignore_index=ignore_index - start,
        )
        for index, wanted in enumerate(targets[1:]):
            if wanted is not None:
                hidden = self.tail[index][0](features.index_select(0, rows[index]))  # dropout
                total = total + linear_cross_entropy(hidden, tails[index], wanted)[0]
        return total


class SharedTail(nn.Module):
    """The logits of the tokens in *band*, from rows of the embedding matrix.

    Args:
        weight: embedding matrix, ``V x C``.
        band: first token, and the token after the last one.
    """

    def __init__(self, weight: nn.Parameter, band: Tuple[int, int]):
        super().__init__()
        self.weight = weight
        self.band = band

    def forward(self, features: Tensor) -> Tensor:
        """From features ``N x C`` to logits ``N x (end - start)``."""
        start, end = self.band
        return F.linear(features, self.weight[start:end])


class SharedHead(SharedTail):
    """Like :class:`SharedTail`, with a logit of each of *num_tails* tails after the tokens."""

    def __init__(self, weight: nn.Parameter, band: Tuple[int, int], num_tails: int):
        super().__init__(weight, band)
        self.tails = nn.Linear(weight.size(1), num_tails, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """From features ``N x C`` to logits ``N x (end - start + num_tails)``."""
        return torch.cat([super().forward(features), self.tails(features)], dim=1)


class KeepClasses(nn.Module):
    """Takes their probability from the tokens that never occur.

    Args:
        band: the range of tokens whose logits come first.
        classes: the range of tokens that occur.
        num_tails: number of logits after those of the tokens.
    """

    def __init__(self, band: Tuple[int, int], classes: Tuple[int, int], num_tails: int = 0):
        super().__init__()
        never = [not classes[0] <= token < classes[1] for token in range(*band)]
        # Unless some token is left out, there is nothing to do in forward.
        self.leaves_out = any(never)
        self.register_buffer("never", torch.tensor(never + num_tails * [False]), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """From logits ``N x K`` to logits ``N x K``."""
        return logits.masked_fill(self.never, NEVER) if self.leaves_out else logits
