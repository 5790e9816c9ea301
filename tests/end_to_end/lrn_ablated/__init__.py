"""A user directory that breaks one part of the model, named by LRN_ABLATE.

``recurrence``: every state is computed as if the one before it were zero.
``attention``: the decoder sees the source through its initial state only.
"""

import os

import torch

import fairseq_lrn  # noqa: F401  (registers the models)
from fairseq_lrn.models import lrn
from fairseq_lrn.modules import cells, layers


def scan_without_memory(kqv, h0, padding_mask=None, *, bias=None, **options):
    pair = not isinstance(kqv, torch.Tensor)
    outputs = []
    for one, shift in zip(kqv, bias or (None, None)) if pair else [(kqv, bias)]:
        merged = one.reshape(1, -1, one.size(-1))
        zeros = h0.new_zeros(merged.size(1), h0.size(-1))
        h = intact_scan(merged, zeros, bias=shift, **options)
        outputs.append(h.reshape(*one.shape[:2], -1))
    return torch.cat(outputs, dim=-1)


class NoAttention(layers.DotProductAttention):
    def forward(self, query, *args):
        return torch.zeros_like(query), None


intact_scan = cells.lrn_scan
lrn.has_decoder_step = lambda memory: False  # it computes all parts itself
part = os.environ["LRN_ABLATE"]
if part == "recurrence":
    cells.lrn_scan = scan_without_memory
elif part == "attention":
    layers.DotProductAttention = NoAttention
else:
    raise ValueError(f"LRN_ABLATE={part!r}: recurrence or attention")
