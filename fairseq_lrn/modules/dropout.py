"""Dropout of sequences."""

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor


class Dropout(FairseqDropout):
    """fairseq's dropout, whose masks cost less on a CPU, and may be the same at every step.

    torch draws a CPU's random numbers one by one, on one thread: its dropout takes as long as a
    small matrix product. Here four elements share one draw of 64 bits, so a probability is a
    multiple of 1/65536.

    Args:
        p: probability of dropping.
        locked: for sequences ``T x B x C``: one mask ``B x C`` for all time steps (variational
            dropout; Gal and Ghahramani, 2016).
        module_name: what ``--retain-dropout-modules`` knows it as.
    """

    locked: torch.jit.Final[bool]

    def __init__(self, p: float, locked: bool = False, module_name=None):
        super().__init__(p, module_name)
        self.locked = locked

    def extra_repr(self) -> str:
        return f"p={self.p}, locked={self.locked}"

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        if self.p > 0 and (self.training or self.apply_during_inference):
            return x * dropout_mask(x[:1] if self.locked else x, self.p)
        return x


class WordDropout(Dropout):
    """Drops whole embeddings of a sequence ``T x B x C``: each position is zero with probability p.

    The network learns not to rely on one word alone (Gal and Ghahramani, 2016; for translation
    with little data Sennrich and Zhang, 2019).
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        if self.p > 0 and (self.training or self.apply_during_inference):
            return x * dropout_mask(x[..., :1], self.p)
        return x


def dropout_mask(like: Tensor, p: float) -> Tensor:
    """A mask with the shape, type and place of *like*: 0 with probability p, else 1 / (1 - p)."""
    if not torch.jit.is_scripting():
        if like.device.type == "cpu":
            return _cpu_mask(like, p)
    return torch.empty_like(like).bernoulli_(1.0 - p).div_(1.0 - p)


def _cpu_mask(like: Tensor, p: float) -> Tensor:
    count = like.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = min(round(65536 * p), 65535)
    kept = bits.view(torch.int16)[:count].view(like.shape) >= dropped - 32768
    return kept.to(like.dtype).mul_(65536 / (65536 - dropped))
