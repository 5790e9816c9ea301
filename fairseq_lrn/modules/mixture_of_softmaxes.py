"""Mixture of softmaxes: an output layer of higher rank than a single softmax."""

from typing import Optional

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.linear import Linear

BLOCK = 16  # positions whose K times V logits are in memory at once, without gradients


class MixtureOfSoftmaxes(nn.Module):
    r"""A weighted sum of K softmaxes over V classes::

        g_k = tanh(L_k x + l_k)
        p = sum_k softmax(P x)_k softmax(E g_k + b)

    Args:
        in_features: width M of the input x.
        embed_dim: width E of the output matrix.
        num_softmaxes: K.
        dropout: probability of dropping an element of the g_k, the same at every time step.

    Source: Yang et al. (2018), "Breaking the softmax bottleneck", section 3. The authors' code adds
    1e-8 to each probability, so that they add up to 1 + V * 1e-8; here they add up to 1.
    """

    def __init__(self, in_features: int, embed_dim: int, num_softmaxes: int, dropout: float = 0.0):
        super().__init__()
        self.prior = Linear(in_features, num_softmaxes, bias=False)
        self.latent = Linear(in_features, num_softmaxes * embed_dim)
        self.dropout = Dropout(dropout, locked=True, module_name=self.__class__.__name__)

    def forward(self, x: Tensor, table: Tensor, bias: Optional[Tensor] = None) -> Tensor:
        """Log-probabilities ``T x B x V``; without gradients, little more is in memory.

        Args:
            x: ``T x B x M``.
            table: output matrix, ``V x E``.
            bias: ``V``.
        """
        log_prior = torch.log_softmax(self.prior(x), -1).unsqueeze(-1)  # T x B x K x 1
        latent = self.dropout(torch.tanh(self.latent(x)))  # T x B x K*E
        latent = latent.unflatten(-1, (log_prior.size(2), -1))  # T x B x K*E to T x B x K x E
        if torch.is_grad_enabled():  # the backward pass needs the logits of all positions
            return _mixed(log_prior, latent, table, bias)
        log_prior, latent = log_prior.flatten(0, 1), latent.flatten(0, 1)  # T*B x K x ...
        result = log_prior.new_empty(len(log_prior), table.size(0))
        for out, *block in zip(*(part.split(BLOCK) for part in (result, log_prior, latent))):
            out.copy_(_mixed(*block, table, bias))
        return result.unflatten(0, x.shape[:2])


def _mixed(log_prior: Tensor, latent: Tensor, table: Tensor, bias: Optional[Tensor]) -> Tensor:
    """The mixture ``... x V``, from ``... x K x 1`` and ``... x K x E``."""
    log_p = torch.log_softmax(nn.functional.linear(latent, table, bias), -1)  # ... x K x V
    return torch.logsumexp(log_prior + log_p, dim=-2)
