"""A ``--user-dir``: fairseq_lrn with the parts changed that ``LRN_CHANGE`` names, with + between.

For ``scripts/ablations.sh``: changes of the code that were tried and not kept.
"""

import os
from functools import partial
from typing import Callable, Dict

import torch
from torch import nn

import fairseq_lrn  # noqa: F401  registers the models
from fairseq_lrn.models.translation.lrn_model import LRNDecoder
from fairseq_lrn.modules.cells import LRNCell
from fairseq_lrn.modules.layers import LRNDecoderLayer, ResidualNorm


def rms_norm(patch: Callable) -> None:
    """RMS norm (Zhang and Sennrich, NeurIPS 2019) around the branches instead of layer norm."""
    init = ResidualNorm.__init__

    def with_rms_norm(self, embed_dim, *args):
        init(self, embed_dim, *args)
        self.layer_norm = nn.RMSNorm(embed_dim, eps=1e-5)

    patch(ResidualNorm, "__init__", with_rms_norm)
    _unfuse(patch)


def scaled_residual(patch: Callable) -> None:
    """The residual stream times 1.5 before a branch is added, as DeepNet has it."""

    def forward(self, x, branch):
        x = 1.5 * x + self.dropout_module(branch)
        return x if self.normalize_before else self.layer_norm(x)

    patch(ResidualNorm, "forward", forward)
    _unfuse(patch)


def forget_bias(value: float, patch: Callable) -> None:
    """The bias of q has this value at first instead of 0: forget gates more open or less."""
    init = LRNCell.__init__

    def with_bias(self, input_size, hidden_size, *args, **kwargs):
        init(self, input_size, hidden_size, *args, **kwargs)
        projection = self.projection  # of k, q, v
        bias = projection.norms[0].bias if projection.bias is None else projection.bias
        with torch.no_grad():
            bias[hidden_size : 2 * hidden_size] = value

    patch(LRNCell, "__init__", with_bias)


def attention_in_last_layer(patch: Callable) -> None:
    """Of the decoder's layers the last alone reads the source."""
    init, read = LRNDecoder.__init__, LRNDecoderLayer._read

    def with_one_reader(self, *args, **kwargs):
        init(self, *args, **kwargs)
        for layer in self.layers[:-1]:
            layer.encoder_attn_residual = None
            del layer.encoder_attn.q_proj, layer.encoder_attn.out_proj

    def read_if_last(self, x, *args):
        return (self.ffn(x), None) if self.encoder_attn_residual is None else read(self, x, *args)

    patch(LRNDecoder, "__init__", with_one_reader)
    patch(LRNDecoderLayer, "_read", read_if_last)
    _unfuse(patch)


def _unfuse(patch: Callable) -> None:
    """The decoder's fused step computes the layers as they are without the change."""
    patch(LRNDecoderLayer, "step_parameters", lambda self: None)


CHANGES: Dict[str, Callable] = {
    "rms-norm": rms_norm,
    "scaled-residual": scaled_residual,
    "open-forget-gates": partial(forget_bias, 1.0),
    "closed-forget-gates": partial(forget_bias, -1.0),
    "attention-in-last-layer": attention_in_last_layer,
}

for name in os.environ.get("LRN_CHANGE", "").split("+"):
    if name:
        CHANGES[name](setattr)
