"""Residual recurrent layers of the architecture ``lrn``, with and without attention to a source."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_lrn.modules.affine import (
    NORM_EPS,
    Affine,
    affine_parameters,
    is_standard_norm,
    norm_parameters,
)
from fairseq_lrn.modules.attention import DotProductAttention
from fairseq_lrn.modules.cells import LRNCell
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.hooks import is_plain
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.modules.stack import RecurrentStack
from fairseq_lrn.ops import DecoderStep, EncoderPass


class ResidualNorm(nn.Module):
    """Dropout, residual connection and layer norm around a branch.

    Args:
        embed_dim: width C of the residual stream.
        dropout: dropout probability of the output of the branch, before the residual connection.
        locked_dropout: drop the same elements at every time step.
        normalize_before: pre-norm (layer norm at the entry of the branch) instead of post-norm.
        layer: class name of the layer, by which ``--retain-dropout-modules`` selects the dropout.
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

    def branch_input(self, x: Tensor) -> Tensor:
        """The input of the branch, ``T x B x C``, from the residual stream *x*, ``T x B x C``."""
        return self.layer_norm(x) if self.normalize_before else x

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """The residual stream after the branch, ``T x B x C``.

        Args:
            x: the residual stream before the branch, ``T x B x C``.
            branch: output of the branch, ``T x B x C``.
        """
        x = x + self.dropout_module(branch)
        return x if self.normalize_before else self.layer_norm(x)


@dataclass(frozen=True)
class LayerParts:
    """The classes that layers are built from. An ablation replaces some of them.

    Attributes:
        recurrence: takes the arguments of :class:`~fairseq_lrn.modules.RecurrentLayer`.
        residual: takes the arguments of :class:`ResidualNorm`.
        attention: takes the arguments of
            :class:`~fairseq_lrn.modules.attention.DotProductAttention`.
        attends: whether a decoder layer attends to the source, given its index and the number of
            layers.
    """

    recurrence: Callable[..., nn.Module] = RecurrentLayer
    residual: Callable[..., nn.Module] = ResidualNorm
    attention: Callable[..., nn.Module] = DotProductAttention
    attends: Callable[[int, int], bool] = lambda index, num_layers: True


class FeedForward(nn.Module):
    """Feed-forward block: two affine maps with a ReLU between them, as a residual branch.

    Args:
        embed_dim: width C of the residual stream.
        ffn_dim: width F between the maps.
        build_residual: builds the residual connection of the branch, a :class:`ResidualNorm`.

    Source: Vaswani et al. (2017), section 3.3.
    """

    def __init__(self, embed_dim: int, ffn_dim: int, build_residual: Callable[[], nn.Module]):
        super().__init__()
        self.fc1 = xavier_linear(embed_dim, ffn_dim)
        self.fc2 = xavier_linear(ffn_dim, embed_dim)
        self.residual = build_residual()

    def forward(self, x: Tensor) -> Tensor:
        """The residual stream after the block, ``T x B x C``, from the stream *x* before it."""
        return self.residual(x, self.fc2(torch.relu(self.fc1(self.residual.branch_input(x)))))


class SourceOptions(NamedTuple):
    """How a layer uses the source sentence.

    Attributes:
        embed_dim: width E of the encoder output; None: the layer does not attend to it.
        state_size: width of the encoder's final state, from which an affine map computes the
            initial state of the layer; None: the layer has no such map.
        heads: number of attention heads.
        dropout: dropout probability of the attention weights.
    """

    embed_dim: Optional[int] = None
    state_size: Optional[int] = None
    heads: int = 1
    dropout: float = 0.0


NO_SOURCE = SourceOptions()


class RecurrentBlock(nn.Module):
    """A recurrence with an output projection, then an optional feed-forward block.

    Args:
        embed_dim: width C of the residual stream.
        hidden_size: width H of the output of the recurrence in each direction.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        bidirectional: run the recurrence in both directions.
        ffn_dim: width of the feed-forward block; 0: no block.
        dropout, locked_dropout, normalize_before: see :class:`ResidualNorm`.
        parts: classes that the layer is built from; None: the defaults of :class:`LayerParts`.
        source: how a subclass uses the source.
        **recurrence: passed to :class:`~fairseq_lrn.modules.RecurrentLayer`.

    Attributes:
        attends: whether the layer attends to a source.
    """

    attends: torch.jit.Final[bool]

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        cell: str,
        bidirectional: bool = False,
        ffn_dim: int = 0,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        normalize_before: bool = False,
        parts: Optional[LayerParts] = None,
        source: SourceOptions = NO_SOURCE,
        **recurrence,
    ):
        super().__init__()
        parts = parts or LayerParts()
        layer = self.__class__.__name__
        self.attends = source.embed_dim is not None

        def build_residual() -> nn.Module:
            return parts.residual(embed_dim, dropout, locked_dropout, normalize_before, layer)

        # The order of the parts decides which initial weights a seed gives.
        self.recurrence = parts.recurrence(
            cell, embed_dim, hidden_size, bidirectional=bidirectional, **recurrence
        )
        if source.state_size is not None:
            self.init_proj = xavier_linear(source.state_size, self.recurrence.state_size)
        self.out_proj = xavier_linear(self.recurrence.num_directions * hidden_size, embed_dim)
        self.residual = build_residual()
        if source.embed_dim is not None:
            self.encoder_attn = parts.attention(
                embed_dim, source.embed_dim, source.heads, source.dropout
            )
            self.encoder_attn_residual = build_residual()
        self.ffn = nn.Identity()
        if ffn_dim > 0:
            self.ffn = FeedForward(embed_dim, ffn_dim, build_residual)

    def initial_state(self, x: Tensor) -> Tensor:
        """States of zeros, ``D x B x state_size``, for the input ``T x B x C``."""
        return self.recurrence.initial_state(x)

    def forward(
        self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Run the layer over a sequence, without attention.

        Args:
            x: residual stream, ``T x B x C``.
            h_0: initial states of the D directions, ``D x B x state_size``.
            padding_mask: ``T x B``, true at padding, where the states are carried.

        Returns:
            residual stream ``T x B x C`` and final states ``D x B x state_size``.
        """
        x, h_n = self.recur(x, h_0, padding_mask)
        return self.ffn(x), h_n

    def recur(
        self, x: Tensor, h_0: Tensor, padding_mask: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor]:
        """Run the recurrent branch alone; arguments and results are those of :meth:`forward`."""
        h, h_n = self.recurrence(self.residual.branch_input(x), h_0, padding_mask)
        return self.residual(x, self.out_proj(h)), h_n

    def recur_step(self, x: Tensor, h: Tensor) -> Tuple[Tensor, Tensor]:
        """Run the recurrent branch for one position of W hypotheses for each of B sentences.

        Args:
            x: residual stream, ``W x B x C``.
            h: state, ``W*B x state_size``.

        Returns:
            residual stream ``W x B x C`` and next state ``W*B x state_size``.
        """
        # W x B x C to 1 x W*B x C: for the recurrence, hypotheses are sentences of one token.
        one_step = self.residual.branch_input(x).reshape(1, -1, x.size(2))
        y, h_n = self.recurrence(one_step, h.unsqueeze(0))
        branch = self.out_proj(y).view_as(x)  # 1 x W*B x C to W x B x C
        return self.residual(x, branch), h_n[0]

    def fused_parameters(self) -> Optional[Dict[str, Optional[Tensor]]]:
        """The parameters of the layer by name, see :mod:`fairseq_lrn.ops.layer_parameters`.

        Returns:
            the parameters, or None if the fused operators cannot compute this layer: a part is of
            another class or has hooks, a norm has another epsilon or lacks parameters, or dropout
            stays active in generation.
        """
        parts = list(self.modules())
        if any(type(part) not in FUSED_PARTS for part in parts) or not is_plain(*parts):
            return None
        if any(isinstance(part, Dropout) and part.is_active() for part in parts):
            return None
        gate_norms = [norm for cell in self.recurrence.cells for norm in cell.projection.norms]
        others = [
            part
            for part in parts
            if isinstance(part, nn.LayerNorm) and all(part is not norm for norm in gate_norms)
        ]
        eps = self.residual.layer_norm.eps
        if not all(map(is_standard_norm, gate_norms)):
            return None
        if not all(is_standard_norm(norm, eps, needs_shift=True) for norm in others):
            return None
        parameters = {
            **affine_parameters("out", self.out_proj),
            **norm_parameters("residual_norm", self.residual.layer_norm),
        }
        for prefix, cell in zip(("", "backward_"), self.recurrence.cells):
            gates = cell.projection
            norm = gates.norms[0] if len(gates.norms) == 1 else None
            parameters.update(affine_parameters(f"{prefix}gates", gates))
            parameters.update(norm_parameters(f"{prefix}gates_norm", norm))
        if self.attends:
            attention = self.encoder_attn
            parameters.update(affine_parameters("query", attention.q_proj))
            parameters.update(affine_parameters("attention_out", attention.out_proj))
            norm = self.encoder_attn_residual.layer_norm
            parameters.update(norm_parameters("attention_norm", norm))
        if isinstance(self.ffn, FeedForward):
            parameters.update(affine_parameters("ffn_in", self.ffn.fc1))
            parameters.update(affine_parameters("ffn_out", self.ffn.fc2))
            parameters.update(norm_parameters("ffn_norm", self.ffn.residual.layer_norm))
        return parameters


class LRNEncoderLayer(RecurrentBlock):
    """Bidirectional recurrence with an output projection, then an optional feed-forward block.

    Args:
        embed_dim, hidden_size, cell: see :class:`RecurrentBlock`.
        **options: see :class:`RecurrentBlock`.
    """

    def __init__(self, embed_dim: int, hidden_size: int, cell: str, **options):
        super().__init__(embed_dim, hidden_size, cell, bidirectional=True, **options)


class LRNDecoderLayer(RecurrentBlock):
    """Recurrence, then optionally attention to a source, then an optional feed-forward block.

    Args:
        embed_dim: width C of the residual stream, which is also the width of the attention.
        hidden_size: width H of the output of the recurrence.
        cell: one of :data:`~fairseq_lrn.modules.cells.CELLS`.
        encoder_embed_dim: width E of the encoder output; None: the layer does not attend.
        encoder_state_size: width of the encoder's final state, from which an affine map computes
            the initial state of the layer, as in the authors' toolkit; None: there is no such map.
        attention_heads: number of attention heads; must divide *embed_dim*.
        attention_dropout: dropout probability of the attention weights.
        **options: see :class:`RecurrentBlock`.

    Raises:
        ValueError: *attention_heads* does not divide *embed_dim*.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        cell: str,
        encoder_embed_dim: Optional[int] = None,
        encoder_state_size: Optional[int] = None,
        attention_heads: int = 1,
        attention_dropout: float = 0.0,
        **options,
    ):
        source = SourceOptions(
            encoder_embed_dim, encoder_state_size, attention_heads, attention_dropout
        )
        super().__init__(
            embed_dim, hidden_size, cell, bidirectional=False, source=source, **options
        )

    def state_from_encoder(self, encoder_state: Tensor) -> Tensor:
        """Initial state ``1 x B x state_size`` from the encoder's final state, ``B x Z``.

        Z is *encoder_state_size*.
        """
        return self.init_proj(encoder_state).unsqueeze(0)

    def project_memory(self, memory: Tensor) -> Tuple[Tensor, Tensor]:
        """Keys and values of the attention, ``S x B x C`` each, from the memory ``S x B x E``."""
        return self.encoder_attn.project_memory(memory)

    def forward(
        self,
        x: Tensor,
        h_0: Tensor,
        padding_mask: Optional[Tensor] = None,
        keys: Optional[Tensor] = None,
        values: Optional[Tensor] = None,
        memory_padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
        one_position: bool = False,
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Run the layer over a sequence, or over one position of several hypotheses.

        Args:
            x: residual stream, ``T x B x C``; in incremental decoding, the new positions only.
            h_0: state before the first position of *x*, ``1 x B x state_size``.
            padding_mask: ``T x B``, true at padding, where the state is carried.
            keys, values: ``S x B x C``, from :meth:`project_memory`; None without attention.
            memory_padding_mask: ``B x S``, true at padding.
            need_attn: return attention weights.
            one_position: *x* is ``W x B x C``, one position of W hypotheses for each of B
                sentences, and *h_0* is ``W*B x state_size``, without padding.

        Returns:
            residual stream in the shape of *x*, final state in the shape of *h_0*, and attention
            weights ``B x T x S`` averaged over the heads (None unless requested).
        """
        if one_position:
            x, h_n = self.recur_step(x, h_0)
        else:
            x, h_n = self.recur(x, h_0, padding_mask)
        attn: Optional[Tensor] = None
        if self.attends:
            assert keys is not None and values is not None
            residual = self.encoder_attn_residual
            # The attention treats the W hypotheses of a sentence like W positions.
            context, attn = self.encoder_attn(
                residual.branch_input(x), keys, values, memory_padding_mask, need_attn
            )
            x = residual(x, context)
        return self.ffn(x), h_n, attn


# The fused operators compute exactly these classes; a subclass may compute something else.
FUSED_PARTS = (
    LRNEncoderLayer,
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


def build_decoder_step(layers: RecurrentStack) -> Optional[DecoderStep]:
    """The fused step of a stack of :class:`LRNDecoderLayer`. It has no dropout and no gradients.

    Args:
        layers: the stack.

    Returns:
        the step, or None if it cannot compute one of the layers, or if the layers have different
        options.

    Raises:
        RuntimeError: the C++ kernels are unavailable.
    """
    fused = _fused_layers(layers)
    if fused is None:
        return None
    attending = [layer.encoder_attn for layer in layers if layer.attends]
    scores = {(attention.num_heads, attention.masked_score) for attention in attending}
    if len(scores) > 1:
        return None
    heads, masked_score = scores.pop() if scores else (1, 0.0)
    return DecoderStep(**fused, heads=heads, masked_score=masked_score)


def build_encoder_pass(layers: RecurrentStack) -> Optional[EncoderPass]:
    """The fused pass of a stack of :class:`LRNEncoderLayer`. It has no dropout and no gradients.

    Args, returns and raises: see :func:`build_decoder_step`.
    """
    fused = _fused_layers(layers)
    if fused is None or len({layer.recurrence.hidden_size for layer in layers}) > 1:
        return None
    return EncoderPass(**fused, hidden=layers[0].recurrence.hidden_size)


def _fused_layers(layers: RecurrentStack) -> Optional[Dict[str, Any]]:
    """What describes the layers to a fused operator; None if it cannot compute one of them."""
    if not is_plain(layers) or not all(isinstance(layer, RecurrentBlock) for layer in layers):
        return None
    parameters = [layer.fused_parameters() for layer in layers]
    if not parameters or None in parameters:
        return None
    options = [_fused_options(layer) for layer in layers]
    if any(option != options[0] for option in options):
        return None
    return {"layers": parameters, **options[0]}


def _fused_options(layer: RecurrentBlock) -> Dict[str, Any]:
    """The arguments of a fused operator that all layers share."""
    return {
        "activation": layer.recurrence.cells[0].activation,
        "normalize_before": layer.residual.normalize_before,
        "eps": layer.residual.layer_norm.eps,
        "gate_eps": NORM_EPS,
    }


def xavier_linear(in_features: int, out_features: int) -> Linear:
    """An affine map with a Xavier-uniform weight and a bias of zeros."""
    layer = Linear(in_features, out_features)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
