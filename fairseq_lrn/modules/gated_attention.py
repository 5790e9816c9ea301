"""Gated attention of one text to another, or to itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout

# Rows of attention weights that are in memory together. In training, autograd keeps all of them.
CHUNK = 512


class GatedAttention(nn.Module):
    """Each vector of a text, with what it attends to in a memory, behind a gate.

    The weights are the scaled product of both sides after a map and a ReLU. The output is
    ``v * sigmoid(v G)``, where v is the vector and the weighted sum of the memory side by side.

    Args:
        input_size: width C of the text.
        memory_size: width M of the memory.
        hidden_size: width of the maps.
        dropout: dropout probability of what the maps and the gate read.
        locked_dropout: drop the same elements at every word of a text.

    Attributes:
        width: width ``C + M`` of the output.

    Source: Wang et al. (2017), sections 3.2 and 3.3; the product instead of additive attention is
    that of the code that the authors used (HKUST-KnowComp/R-Net, ``func.py: dot_attention``).
    """

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        hidden_size: int,
        dropout: float = 0.0,
        locked_dropout: bool = False,
    ):
        super().__init__()
        self.width = input_size + memory_size
        self.dropout = Dropout(dropout, locked_dropout, self.__class__.__name__)
        self.input_map = Affine(input_size, hidden_size, bias=False)
        self.memory_map = Affine(memory_size, hidden_size, bias=False)
        self.gate = Affine(self.width, self.width, bias=False)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """
        Args:
            x: the text, ``T x B x C``.
            memory: ``S x B x M``.
            memory_mask: ``S x B``, true at padding.

        Returns:
            ``T x B x (C + M)``.
        """
        query = torch.relu(self.input_map(self.dropout(x))).transpose(0, 1)  # to B x T x H
        key = torch.relu(self.memory_map(self.dropout(memory))).transpose(0, 1)  # to B x S x H
        value = memory.transpose(0, 1)  # S x B x M to B x S x M
        mask = memory_mask.t().unsqueeze(1)  # S x B to B x 1 x S
        # A finite number, so that a text that is all padding has no nan.
        bias = torch.zeros_like(mask, dtype=query.dtype)
        bias.masked_fill_(mask, torch.finfo(query.dtype).min)
        # A part of the rows at a time: a text of T words does not need T x T weights at once.
        parts = [
            F.scaled_dot_product_attention(rows, key, value, attn_mask=bias)
            for rows in query.split(CHUNK, dim=1)
        ]
        attended = torch.cat(parts, dim=1).transpose(0, 1)  # B x T x M to T x B x M
        both = torch.cat([x, attended], dim=-1)
        return both * torch.sigmoid(self.gate(self.dropout(both)))
