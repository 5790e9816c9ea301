"""A window of tokens that ends at the present one."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.linear import Linear


class CausalWindow(nn.Module):
    """Adds a map of each of the tokens before to a token: ``y_t = x_t + sum_k W_k x_{t-k}``.

    The gates of an LRN read one token and the state, element by element, so a layer below them that
    combines tokens tells them more. All its products run over all tokens at once.

    Args:
        width: width C.
        size: number of tokens N in the window, at least 2.

    Source: Bradbury et al. (2017), "Quasi-Recurrent Neural Networks", section 2, which has such a
    window in place of each map of the input.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.width, self.size = width, size
        self.map = Linear((size - 1) * width, width, bias=False)
        nn.init.xavier_uniform_(self.map.weight)

    def initial_state(self, x: Tensor) -> Tensor:
        """A state of zeros, ``1 x B x (N-1)*C``, for the input ``T x B x C``."""
        return x.new_zeros(1, x.size(1), (self.size - 1) * self.width)

    def forward(
        self, x: Tensor, state: Optional[Tensor] = None, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x: input, ``T x B x C``.
            state: the tokens before, the latest one last, ``1 x B x (N-1)*C``; None: zeros.
            padding_mask: ``T x B``, true at padding. Padding before a text must be zeros, and needs
                a state of zeros.

        Returns:
            output ``T x B x C``, and the state after the last token.
        """
        before = self.size - 1
        state = self.initial_state(x) if state is None else state
        # 1 x B x (N-1)*C to (N-1) x B x C
        earlier = state[0].unflatten(-1, (before, self.width)).transpose(0, 1).to(x.dtype)
        both = torch.cat([earlier, x])  # (T + N-1) x B x C
        window = torch.cat([both[shift : shift + len(x)] for shift in range(before)], dim=-1)
        # Of each text the position after its last token.
        end = torch.full((x.size(1),), len(x), device=x.device)
        if padding_mask is not None:
            positions = torch.arange(1, len(x) + 1, device=x.device).unsqueeze(1)
            end = (positions * ~padding_mask).amax(0)
        rows = end + torch.arange(before, device=x.device).unsqueeze(1)  # (N-1) x B
        last = both.gather(0, rows.unsqueeze(-1).expand(-1, -1, self.width))
        # (N-1) x B x C to 1 x B x (N-1)*C
        return x + self.map(window), last.transpose(0, 1).flatten(1).unsqueeze(0)
