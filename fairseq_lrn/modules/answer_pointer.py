"""The pointer to the first and the last word of an answer, and the search for the best span."""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.cells import build_cell
from fairseq_lrn.modules.dropout import Dropout

MASKED = -1e9  # the score of padding


class AnswerPointer(nn.Module):
    """Scores of the first and of the last word of an answer.

    Additive attention from a state to the text gives the scores of the first word. Its context is
    the input of one step of a recurrent cell, and the new state gives the scores of the last word.

    Args:
        input_size: width C of the text.
        state_size: width S of the initial state, which is the hidden size of the cell.
        hidden_size: width of the hidden layer of the attention.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        dropout: dropout probability of text, state and context.
        locked_dropout: drop the same elements at every word of a text.
        **options: passed to :func:`~fairseq_lrn.modules.cells.build_cell`.

    Source: Wang et al. (2017), section 3.4; HKUST-KnowComp/R-Net, ``func.py: ptr_net``.
    """

    def __init__(
        self,
        input_size: int,
        state_size: int,
        hidden_size: int,
        cell: str,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        **options,
    ):
        super().__init__()
        name = self.__class__.__name__
        self.text_dropout = Dropout(dropout, locked_dropout, name)
        self.dropout = Dropout(dropout, module_name=name)
        self.text_map = Affine(input_size, hidden_size, bias=False)
        self.state_map = Affine(state_size, hidden_size, bias=False)
        self.score = Affine(hidden_size, 1, bias=False)
        self.cell = build_cell(cell, input_size, state_size, **options)

    def forward(self, x: Tensor, padding_mask: Tensor, state: Tensor) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x: the text, ``T x B x C``.
            padding_mask: ``T x B``, true at padding, whose scores are ``-1e9``.
            state: initial state, ``B x S``.

        Returns:
            scores of the first and of the last word, ``B x T`` each, in float32.
        """
        x = self.text_dropout(x)
        hidden = self.text_map(x)
        # One mask for the state in both places.
        kept = self.dropout(torch.ones_like(state))
        first = self._scores(hidden, state * kept, padding_mask)
        weights = torch.softmax(first, dim=-1).to(x.dtype)
        # (B x 1 x T) (B x T x C) to B x C
        context = torch.bmm(weights.unsqueeze(1), x.transpose(0, 1)).squeeze(1)
        # A cell whose state has two parts begins with the same vector in both.
        state = state.repeat(1, self.cell.state_size // state.size(1))  # B x state_size
        output, _ = self.cell(self.dropout(context).unsqueeze(0), state)
        return first, self._scores(hidden, output[0] * kept, padding_mask)

    def _scores(self, hidden: Tensor, state: Tensor, padding_mask: Tensor) -> Tensor:
        hidden = torch.tanh(hidden + self.state_map(state))
        # Not in bfloat16, whose steps are large where the largest scores are.
        with torch.autocast(hidden.device.type, enabled=False):
            scores = self.score(hidden.to(self.score.weight.dtype)).squeeze(-1)  # T x B
        return scores.float().masked_fill(padding_mask, MASKED).t()  # T x B to B x T


def best_spans(first: Tensor, last: Tensor, max_distance: int) -> Tuple[Tensor, Tensor, Tensor]:
    """The most probable span of each text: the largest sum of the two log-probabilities.

    All spans are compared, in ``B x T x (max_distance + 1)`` numbers.

    Args:
        first, last: scores of the first and of the last word, ``B x T`` each, whose softmax over T
            gives probabilities.
        max_distance: the last word is at most so many words after the first.

    Returns:
        index of the first word, index of the last word, and log-probability, ``B`` each.
    """
    first, last = first.log_softmax(-1), last.log_softmax(-1)
    width = min(max_distance + 1, first.size(1))
    padded = F.pad(last, (0, width - 1), value=-torch.inf)
    sums = first.unsqueeze(-1) + padded.unfold(1, width, 1)  # B x T x W
    log_probs, places = sums.flatten(1).max(dim=1)  # B x T x W to B x T*W
    starts = places // width
    return starts, starts + places % width, log_probs
