"""Encoder and decoder layers built around a recurrence, of the architecture ``lrn``."""

from typing import Dict, Optional, Tuple

import torch
from fairseq.modules import FairseqDropout, MultiheadAttention
from torch import Tensor, nn

from fairseq_lrn.modules.recurrence import RecurrentLayer


class LRNEncoderLayer(nn.Module):
    """Bidirectional recurrence, output projection, residual connection and layer norm.

    Args:
        embed_dim: width C of the residual stream.
        hidden_size: width H of the recurrence's output in each direction.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        dropout: on the branch before it joins the residual stream.
        normalize_before: layer norm at the entry of the branch instead of after the sum.
        **recurrence: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        cell: str,
        dropout: float = 0.0,
        normalize_before: bool = False,
        **recurrence,
    ):
        super().__init__()
        self.normalize_before = normalize_before
        self.recurrence = RecurrentLayer(
            cell, embed_dim, hidden_size, bidirectional=True, **recurrence
        )
        self.out_proj = nn.Linear(2 * hidden_size, embed_dim)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)
        self.dropout_module = FairseqDropout(dropout, module_name=self.__class__.__name__)
        self.layer_norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor, padding_mask: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x: ``S x B x C``.
            padding_mask: ``S x B``, true at padding.

        Returns:
            output ``S x B x C`` and the final outputs of the recurrence ``2 x B x H``, forward then
            backward.
        """
        residual = x
        if self.normalize_before:
            x = self.layer_norm(x)
        x, h_n = self.recurrence(x, self.recurrence.initial_state(x), padding_mask)
        h_n = h_n[..., : self.recurrence.hidden_size]
        x = residual + self.dropout_module(self.out_proj(x))
        if not self.normalize_before:
            x = self.layer_norm(x)
        return x, h_n


class LRNDecoderLayer(nn.Module):
    """Recurrence, then multi-head attention over the source; each with residual and layer norm.

    Attention is fairseq's; it caches the projected source between decoding steps.

    Args:
        embed_dim: width C of the residual stream; also the width of the attention.
        hidden_size: width H of the recurrence's output.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        encoder_embed_dim: width of the encoder's output.
        encoder_state_size: width of the encoder's final state, from which this layer's
            initial state is computed, by an affine map as in the authors' toolkit.
        attention_heads: heads; they divide *embed_dim*.
        attention_dropout: on the attention weights.
        dropout: on both branches before they join the residual stream.
        normalize_before: layer norm at the entry of each branch instead of after the sum.
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
        dropout: float = 0.0,
        normalize_before: bool = False,
        **recurrence,
    ):
        super().__init__()
        self.normalize_before = normalize_before
        self.recurrence = RecurrentLayer(cell, embed_dim, hidden_size, **recurrence)
        self.init_proj = nn.Linear(encoder_state_size, self.recurrence.state_size)
        self.out_proj = nn.Linear(hidden_size, embed_dim)
        for linear in (self.init_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.layer_norm = nn.LayerNorm(embed_dim)
        self.encoder_attn = MultiheadAttention(
            embed_dim,
            attention_heads,
            kdim=encoder_embed_dim,
            vdim=encoder_embed_dim,
            dropout=attention_dropout,
            encoder_decoder_attention=True,
        )
        self.encoder_attn_layer_norm = nn.LayerNorm(embed_dim)
        self.dropout_module = FairseqDropout(dropout, module_name=self.__class__.__name__)

    def initial_state(self, encoder_state: Tensor) -> Tensor:
        """Initial state ``1 x B x state_size`` from the encoder's final state ``B x E``."""
        return self.init_proj(encoder_state).unsqueeze(0)

    def forward(
        self,
        x: Tensor,
        h_0: Tensor,
        encoder_out: Tensor,
        encoder_padding_mask: Optional[Tensor] = None,
        padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        need_attn: bool = False,
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """
        Args:
            x: ``T x B x C``; in incremental decoding only the new positions.
            h_0: state before the first position of *x*, ``1 x B x state_size``.
            encoder_out: ``S x B x E``.
            encoder_padding_mask: ``B x S``, true at padding.
            padding_mask: ``T x B``, true at padding.
            incremental_state: fairseq's cache, for the projected source.
            need_attn: return attention weights.

        Returns:
            output ``T x B x C``, final state ``1 x B x state_size``, and attention weights
            ``B x T x S`` averaged over the heads (None unless asked for).
        """
        residual = x
        if self.normalize_before:
            x = self.layer_norm(x)
        x, h_n = self.recurrence(x, h_0, padding_mask)
        x = residual + self.dropout_module(self.out_proj(x))
        if not self.normalize_before:
            x = self.layer_norm(x)

        residual = x
        if self.normalize_before:
            x = self.encoder_attn_layer_norm(x)
        x, attn = self.encoder_attn(
            query=x,
            key=encoder_out,
            value=encoder_out,
            key_padding_mask=encoder_padding_mask,
            incremental_state=incremental_state,
            static_kv=incremental_state is not None,
            need_weights=need_attn,
        )
        x = residual + self.dropout_module(x)
        if not self.normalize_before:
            x = self.encoder_attn_layer_norm(x)
        return x, h_n, attn

    @torch.jit.export
    def reorder_incremental_state(
        self,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]],
        new_order: Tensor,
    ) -> Optional[Dict[str, Dict[str, Optional[Tensor]]]]:
        """Select rows of the projected source where fairseq's attention would not.

        fairseq calls this before the attention's own method, which does nothing where the
        number of rows stays the same. That is right for the beam of one sentence, but not for
        sentences that change places.
        """
        cached = self.encoder_attn._get_input_buffer(incremental_state)
        for key, value in cached.items():
            if value is not None and value.size(0) == new_order.size(0):
                cached[key] = value.index_select(0, new_order)
        return incremental_state
