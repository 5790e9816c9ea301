"""Encoder and decoder layers built around a recurrence, of the architecture ``lrn``."""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.attention import DotProductAttention
from fairseq_lrn.modules.cells import LRNCell
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.ops.decoder_step import PARAMETERS


class ResidualNorm(nn.Module):
    """What is around every branch: dropout, residual connection, layer norm.

    Args:
        embed_dim: width C of the residual stream.
        dropout: on the branch before it joins the residual stream.
        locked_dropout: the same elements are dropped at every time step.
        normalize_before: layer norm at the entry of the branch instead of after the sum.
        layer: class of the layer, which ``--retain-dropout-modules`` knows the dropout as.
    """

    normalize_before: torch.jit.Final[bool]

    def __init__(
        self,
        embed_dim: int,
        dropout: float,
        locked_dropout: bool,
        normalize_before: bool,
        layer: str,
    ):
        super().__init__()
        self.normalize_before = normalize_before
        self.dropout_module = Dropout(dropout, locked_dropout, layer)
        self.layer_norm = nn.LayerNorm(embed_dim)

    def enter(self, x: Tensor) -> Tensor:
        """What the branch reads of the residual stream ``T x B x C``."""
        return self.layer_norm(x) if self.normalize_before else x

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """The residual stream *x* with what the branch wrote, both ``T x B x C``."""
        x = x + self.dropout_module(branch)
        return x if self.normalize_before else self.layer_norm(x)


class FeedForward(nn.Module):
    """Two affine maps with a ReLU between, a branch of the residual stream; as in the transformer.

    Args:
        embed_dim: width C of the residual stream.
        ffn_dim: width F between the maps.
        residual: arguments of :class:`ResidualNorm`.
    """

    def __init__(self, embed_dim: int, ffn_dim: int, residual: tuple):
        super().__init__()
        self.fc1 = linear(embed_dim, ffn_dim)
        self.fc2 = linear(ffn_dim, embed_dim)
        self.residual = ResidualNorm(*residual)

    def forward(self, x: Tensor) -> Tensor:
        """From ``T x B x C`` to ``T x B x C``."""
        return self.residual(x, self.fc2(torch.relu(self.fc1(self.residual.enter(x)))))


class LRNEncoderLayer(nn.Module):
    """Bidirectional recurrence and output projection, then perhaps a feed-forward block.

    Args:
        embed_dim: width C of the residual stream.
        hidden_size: width H of the recurrence's output in each direction.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        ffn_dim: width of the feed-forward block; 0: there is none.
        dropout, locked_dropout, normalize_before: see :class:`ResidualNorm`.
        **recurrence: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        cell: str,
        ffn_dim: int = 0,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        normalize_before: bool = False,
        **recurrence,
    ):
        super().__init__()
        name = self.__class__.__name__
        residual = (embed_dim, dropout, locked_dropout, normalize_before, name)
        self.recurrence = RecurrentLayer(
            cell, embed_dim, hidden_size, bidirectional=True, **recurrence
        )
        self.out_proj = linear(2 * hidden_size, embed_dim)
        self.residual = ResidualNorm(*residual)
        self.ffn = FeedForward(embed_dim, ffn_dim, residual) if ffn_dim > 0 else nn.Identity()

    def forward(self, x: Tensor, padding_mask: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x: ``S x B x C``.
            padding_mask: ``S x B``, true at padding.

        Returns:
            output ``S x B x C`` and the final outputs of the recurrence ``2 x B x H``, forward then
            backward.
        """
        h_0 = self.recurrence.initial_state(x)
        h, h_n = self.recurrence(self.residual.enter(x), h_0, padding_mask)
        x = self.residual(x, self.out_proj(h))
        return self.ffn(x), h_n[..., : self.recurrence.hidden_size]


class LRNDecoderLayer(nn.Module):
    """Recurrence, attention over the source, perhaps a feed-forward block.

    Args:
        embed_dim: width C of the residual stream; also the width of the attention.
        hidden_size: width H of the recurrence's output.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        encoder_embed_dim: width of the encoder's output.
        encoder_state_size: width of the encoder's final state, from which this layer's
            initial state is computed, by an affine map as in the authors' toolkit.
        attention_heads: heads; they divide *embed_dim*.
        attention_dropout: on the attention weights.
        ffn_dim: width of the feed-forward block; 0: there is none.
        dropout, locked_dropout, normalize_before: see :class:`ResidualNorm`.
        **recurrence: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        cell: str,
        encoder_embed_dim: int,
        encoder_state_size: int,
        attention_heads: int = 1,
        attention_dropout: float = 0.0,
        ffn_dim: int = 0,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        normalize_before: bool = False,
        **recurrence,
    ):
        super().__init__()
        name = self.__class__.__name__
        residual = (embed_dim, dropout, locked_dropout, normalize_before, name)
        self.recurrence = RecurrentLayer(cell, embed_dim, hidden_size, **recurrence)
        self.init_proj = linear(encoder_state_size, self.recurrence.state_size)
        self.out_proj = linear(hidden_size, embed_dim)
        self.residual = ResidualNorm(*residual)
        self.encoder_attn = DotProductAttention(
            embed_dim, encoder_embed_dim, attention_heads, attention_dropout
        )
        self.encoder_attn_residual = ResidualNorm(*residual)
        self.ffn = FeedForward(embed_dim, ffn_dim, residual) if ffn_dim > 0 else nn.Identity()

    def initial_state(self, encoder_state: Tensor) -> Tensor:
        """Initial state ``1 x B x state_size`` from the encoder's final state ``B x E``."""
        return self.init_proj(encoder_state).unsqueeze(0)

    def project_memory(self, memory: Tensor) -> Tuple[Tensor, Tensor]:
        """Keys and values ``S x B x C`` that the layer reads of the memory ``S x B x E``."""
        return self.encoder_attn.project_memory(memory)

    def forward(
        self,
        x: Tensor,
        h_0: Tensor,
        keys: Tensor,
        values: Tensor,
        memory_padding_mask: Optional[Tensor] = None,
        padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """
        Args:
            x: ``T x B x C``; in incremental decoding only the new positions.
            h_0: state before the first position of *x*, ``1 x B x state_size``.
            keys, values: ``S x B x C``, of :meth:`project_memory`.
            memory_padding_mask: ``B x S``, true at padding.
            padding_mask: ``T x B``, true at padding.
            need_attn: return attention weights.

        Returns:
            output ``T x B x C``, final state ``1 x B x state_size``, and attention weights
            ``B x T x S`` averaged over the heads (None unless asked for).
        """
        h, h_n = self.recurrence(self.residual.enter(x), h_0, padding_mask)
        x, attn = self._read(
            self.residual(x, self.out_proj(h)), keys, values, memory_padding_mask, need_attn
        )
        return x, h_n, attn

    def step(
        self,
        x: Tensor,
        h: Tensor,
        keys: Tensor,
        values: Tensor,
        memory_padding_mask: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """One position of W hypotheses for each of B sentences, which share a memory.

        Args:
            x: ``W x B x C``.
            h: state, ``W*B x state_size``.
            keys, values: ``S x B x C``, of :meth:`project_memory`.
            memory_padding_mask: ``B x S``, true at padding.

        Returns:
            output ``W x B x C`` and the next state.
        """
        one_step = self.residual.enter(x).view(1, -1, x.size(2))
        y, h = self.recurrence(one_step, h.unsqueeze(0))
        x = self.residual(x, self.out_proj(y).view_as(x))
        # To the attention, hypotheses of a sentence are like its positions.
        return self._read(x, keys, values, memory_padding_mask, False)[0], h[0]

    def step_parameters(self) -> Optional[List[Optional[Tensor]]]:
        """Parameters for :func:`~fairseq_lrn.ops.lrn_decoder_step`; None: it cannot compute this.

        In the order and with the shapes that ``fairseq_lrn/ops/decoder_step.py`` lists.

        It has no dropout, so it is not for training.
        """
        if any(type(module) not in FUSED_PARTS for module in self.modules()):
            return None
        if any(
            module.p > 0.0 and module.apply_during_inference
            for module in self.modules()
            if isinstance(module, Dropout)
        ):
            return None
        projection, attention = self.recurrence.cells[0].projection, self.encoder_attn
        parameters: List[Optional[Tensor]] = [projection.fastest_weight(), projection.bias]
        norm = projection.norms[0] if len(projection.norms) == 1 else None
        parameters += [None, None] if norm is None else [norm.weight, norm.bias]
        maps = [[self.out_proj], [attention.q_proj, attention.out_proj], []]
        norms = [self.residual.layer_norm, self.encoder_attn_residual.layer_norm, None]
        if isinstance(self.ffn, FeedForward):
            maps[2], norms[2] = [self.ffn.fc1, self.ffn.fc2], self.ffn.residual.layer_norm
        for branch, after in zip(maps, norms):
            for one in branch:
                parameters += [one.fastest_weight(), one.bias]
            parameters += [] if after is None else [after.weight, after.bias]
        return parameters + [None] * (PARAMETERS - len(parameters))

    def _read(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        memory_padding_mask: Optional[Tensor],
        need_attn: bool,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        context, attn = self.encoder_attn(
            self.encoder_attn_residual.enter(x), keys, values, memory_padding_mask, need_attn
        )
        return self.ffn(self.encoder_attn_residual(x, context)), attn


# A subclass of one of them may compute something else.
FUSED_PARTS = (
    LRNDecoderLayer,
    RecurrentLayer,
    LRNCell,
    Affine,
    DotProductAttention,
    ResidualNorm,
    FeedForward,
    Linear,
    Dropout,
    nn.LayerNorm,
    nn.Identity,
    nn.ModuleList,
)


def linear(in_features: int, out_features: int) -> Linear:
    """An affine map, Xavier-uniform, with zero bias."""
    layer = Linear(in_features, out_features)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
