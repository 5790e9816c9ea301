"""Dropout for sequences."""

import logging
from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from fairseq_lrn.ops.transforms import is_transforming

logger = logging.getLogger(__name__)


class Dropout(nn.Module):
    """Dropout whose masks are cheap on a CPU, optionally with the same mask at every time step.

    On a CPU, torch draws random numbers one by one on a single thread, so its dropout takes as long
    as a small matrix product. Here, four elements share one draw of 64 bits. The probability is
    therefore rounded to a multiple of 1/65536.

    The interface is that of ``fairseq.modules.FairseqDropout``, so fairseq's ``--retain-dropout``
    works.

    Args:
        p: probability of dropping an element.
        locked: use one mask ``B x C`` for all time steps of a sequence ``T x B x C`` (variational
            dropout; Gal and Ghahramani, 2016).
        module_name: the name by which ``--retain-dropout-modules`` selects this module.
    """

    locked: torch.jit.Final[bool]

    def __init__(self, p: float, locked: bool = False, module_name: Optional[str] = None):
        super().__init__()
        self.p = p
        self.module_name = module_name
        self.apply_during_inference = False
        self.locked = locked

    def extra_repr(self) -> str:
        return f"p={self.p}, locked={self.locked}"

    @torch.jit.unused
    def is_active(self) -> bool:
        """Whether a call drops elements: in training, or if dropout is retained in generation."""
        return self.p > 0.0 and (self.training or self.apply_during_inference)

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """Drop elements of *x*, ``T x B x C``, during training or if dropout is retained.

        Args:
            x: the input.
            inplace: ignored; part of fairseq's interface.
        """
        if self.p > 0 and (self.training or self.apply_during_inference):
            return x * dropout_mask(x[:1] if self.locked else x, self.p)
        return x

    @torch.jit.unused
    def make_generation_fast_(
        self,
        name: str,
        retain_dropout: bool = False,
        retain_dropout_modules: Optional[Sequence[str]] = None,
        **kwargs,
    ) -> None:
        """Follow fairseq's ``--retain-dropout``. fairseq calls this method before generation.

        Args:
            name: path of this module in the model.
            retain_dropout: keep dropout active during generation.
            retain_dropout_modules: names of the modules that keep it; None: all modules.
            kwargs: other options of generation; ignored.
        """
        if not retain_dropout:
            return
        if retain_dropout_modules is not None and self.module_name is None:
            logger.warning("cannot retain dropout in %s: the module has no module_name", name)
        elif retain_dropout_modules is None or self.module_name in retain_dropout_modules:
            logger.info("retaining dropout in %s", name)
            self.apply_during_inference = True


class WordDropout(Dropout):
    """Word dropout: sets the whole embedding of a position to zero, with probability p.

    The model learns not to rely on a single word (Gal and Ghahramani, 2016; for low-resource
    translation Sennrich and Zhang, 2019).
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """Drop positions of *x*, ``T x B x C``; see :meth:`Dropout.forward`."""
        if self.p > 0 and (self.training or self.apply_during_inference):
            return x * dropout_mask(x[..., :1], self.p)
        return x


class TypeDropout(Dropout):
    """Type dropout: sets the embeddings of all occurrences of a word in a batch to zero.

    Source: Gal and Ghahramani (2016), section 4.2; Merity et al. (2018), section 4.3.
    """

    def forward(self, x: Tensor, tokens: Tensor, num_types: int) -> Tensor:  # type: ignore[override]
        """Drop types.

        Args:
            x: embeddings, ``... x C``.
            tokens: their tokens, ``...``, from 0 to *num_types* - 1.
            num_types: number of types.
        """
        if self.p > 0 and (self.training or self.apply_during_inference):
            mask = dropout_mask(x.new_empty(num_types), self.p)
            return x * mask[tokens].unsqueeze(-1)
        return x


def dropout_mask(like: Tensor, p: float) -> Tensor:
    """A mask with the shape, type and device of *like*: 0 with probability p, else 1 / (1 - p)."""
    if p >= 1.0:
        return torch.zeros_like(like)
    if not torch.jit.is_scripting():
        if is_transforming():
            # torch's own numbers follow vmap's rules of randomness: those of a new tensor do so
            # whether the input has vmap's dimension or not.
            kept = torch.rand(like.shape, device=like.device).ge(p)
            return kept.to(like.dtype).div(1.0 - p)
        if like.device.type == "cpu":
            return _cpu_mask(like, p)
    return torch.empty_like(like).bernoulli_(1.0 - p).div_(1.0 - p)


def _cpu_mask(like: Tensor, p: float) -> Tensor:
    count = like.numel()
    draws = like.new_empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    # So many of the 65536 values of 16 random bits, -32768 to 32767, drop an element: the lowest.
    dropped = min(round(65536 * p), 65535)
    # Four 16-bit numbers from each draw, without the surplus of the last draw, shaped as *like*.
    kept = draws.view(torch.int16)[:count].view(like.shape) >= dropped - 32768
    return kept.to(like.dtype).mul_(65536 / (65536 - dropped))
