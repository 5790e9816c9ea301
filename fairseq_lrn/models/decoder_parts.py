"""Parts of decoders, as their options say."""

import math
from typing import Dict

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
    if cfg.shares_output_embeddings():
        projection.weight = embed_tokens.weight
    else:
        nn.init.normal_(projection.weight, std=cfg.decoder_embed_dim**-0.5)
    return projection
