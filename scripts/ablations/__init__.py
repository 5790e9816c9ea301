"""A user directory that registers ablations of fairseq_lrn: ``--user-dir scripts/ablations``.

The model option ``--ablation NAME+NAME`` selects them. ``scripts/ablations.sh`` trains with changes
that were tried and not adopted. The tests use ``no-recurrence`` and ``no-attention`` to show that
translation needs both parts.
"""

from dataclasses import replace
from typing import Callable

import torch
from torch import nn

import fairseq_lrn  # noqa: F401  (registers the models)
from fairseq_lrn.models.ablations import register_ablation
from fairseq_lrn.modules.layers import LayerParts


@register_ablation("rms-norm")
def rms_norm(parts: LayerParts) -> LayerParts:
    """RMS norm (Zhang and Sennrich, NeurIPS 2019) replaces the layer norm around the branches."""

    class RMSResidualNorm(parts.residual):
        def __init__(self, embed_dim, *args):
            super().__init__(embed_dim, *args)
            self.layer_norm = nn.RMSNorm(embed_dim, eps=1e-5)

    return replace(parts, residual=RMSResidualNorm)


@register_ablation("scaled-residual")
def scaled_residual(parts: LayerParts) -> LayerParts:
    """Multiply the residual stream by 1.5 before adding a branch, as in DeepNet."""

    class ScaledResidualNorm(parts.residual):
        def forward(self, x, branch):
            x = 1.5 * x + self.dropout_module(branch)
            return x if self.normalize_before else self.layer_norm(x)

    return replace(parts, residual=ScaledResidualNorm)


def forget_bias(value: float) -> Callable[[LayerParts], LayerParts]:
    """Initialise the bias of q with *value* instead of 0; positive values open the forget gates."""

    def ablation(parts: LayerParts) -> LayerParts:
        class BiasedRecurrence(parts.recurrence):
            def __init__(self, *args, **options):
                super().__init__(*args, **options)
                for cell in self.cells:
                    projection = cell.projection  # its outputs are k, q, v
                    biased = projection if projection.bias is not None else projection.norms[0]
                    with torch.no_grad():
                        biased.bias[cell.hidden_size : 2 * cell.hidden_size] = value

        return replace(parts, recurrence=BiasedRecurrence)

    return ablation


register_ablation("open-forget-gates")(forget_bias(1.0))
register_ablation("closed-forget-gates")(forget_bias(-1.0))


@register_ablation("attention-in-last-layer")
def attention_in_last_layer(parts: LayerParts) -> LayerParts:
    """Only the last decoder layer attends to the source."""
    return replace(parts, attends=lambda index, num_layers: index == num_layers - 1)


@register_ablation("no-recurrence")
def no_recurrence(parts: LayerParts) -> LayerParts:
    """Compute every state from a zero previous state. For the cells lrn and olrn."""

    class MemorylessRecurrence(parts.recurrence):
        def forward(self, x, h_0, padding_mask=None):
            time, batch, width = x.shape
            # T x B x C to 1 x T*B x C: every token is its own sentence.
            merged = x.reshape(1, time * batch, width)
            zeros = h_0.new_zeros(h_0.size(0), time * batch, h_0.size(2))
            h = super().forward(merged, zeros)[0].view(time, batch, -1)
            directions = h.view(time, batch, h_0.size(0), -1).unbind(2)
            finals = [direction[-1 if i == 0 else 0] for i, direction in enumerate(directions)]
            return h, torch.stack(finals)

    return replace(parts, recurrence=MemorylessRecurrence)


@register_ablation("no-attention")
def no_attention(parts: LayerParts) -> LayerParts:
    """The decoder sees the source only through its initial state."""

    class NoAttention(parts.attention):
        def forward(self, query, *args):
            return torch.zeros_like(query), None

    return replace(parts, attention=NoAttention)
