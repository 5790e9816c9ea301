"""Parts of decoders, as their options say."""

import math
from typing import Dict

from fairseq.modules import AdaptiveSoftmax
from torch import nn

from fairseq_lrn.models.decoder_config import DecoderConfig
from fairseq_lrn.modules.linear import Linear


def embedding_scale(cfg: DecoderConfig, embed_tokens: nn.Embedding) -> float:
    """The factor of the embeddings, as in fairseq's transformer."""
    return 1.0 if cfg.no_scale_embedding else math.sqrt(embed_tokens.embedding_dim)


def recurrence_options(cfg: DecoderConfig) -> Dict[str, object]:
    """The arguments of :class:`~fairseq_lrn.modules.RecurrentLayer` for the options *cfg*."""
    return {
        "cell": str(cfg.cell),
        "activation": str(cfg.activation_fn),
        "bias": not cfg.no_projection_bias,
        "norm": "layer" if cfg.layernorm_projection else None,
    }


def build_output_projection(
    cfg: DecoderConfig, embed_tokens: nn.Embedding, num_tokens: int
) -> Linear:
    """The map from features to the logits of *num_tokens* tokens.

    Its matrix is the embedding matrix of the decoder if the options share it.
    """
    projection = Linear(cfg.decoder_embed_dim, num_tokens, bias=False)
    shared = cfg.share_decoder_input_output_embed or getattr(cfg, "share_all_embeddings", False)
    if shared:
        projection.weight = embed_tokens.weight
    else:
        nn.init.normal_(projection.weight, std=cfg.decoder_embed_dim**-0.5)
    return projection


def build_adaptive_softmax(cfg: DecoderConfig, num_tokens: int) -> AdaptiveSoftmax:
    """fairseq's adaptive softmax over *num_tokens* tokens.

    Raises:
        ValueError: a cutoff exceeds the number of tokens.
    """
    cutoffs = cfg.adaptive_softmax_cutoffs()
    if cutoffs[-1] > num_tokens:
        raise ValueError(
            f"--adaptive-softmax-cutoff {cfg.adaptive_softmax_cutoff} exceeds the {num_tokens} "
            "tokens of the dictionary: lower it"
        )
    return AdaptiveSoftmax(
        num_tokens,
        cfg.decoder_embed_dim,
        cutoffs,
        dropout=cfg.adaptive_softmax_dropout,
        factor=cfg.adaptive_softmax_factor,
    )
