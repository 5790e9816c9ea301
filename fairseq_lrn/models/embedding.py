"""Embedding tables, random or pre-trained."""

from typing import Optional, Tuple

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn


def build_embeddings(cfg, src_dict: Dictionary, tgt_dict: Dictionary) -> Tuple[nn.Embedding, ...]:
    """Source and target tables, as the options ask for; one table where they share all.

    Args:
        cfg: options of a model with the LRN decoder.
        src_dict: source dictionary.
        tgt_dict: target dictionary.

    Raises:
        ValueError: see :func:`build_embedding`.
    """
    source = build_embedding(
        src_dict,
        cfg.encoder_embed_dim,
        path=cfg.encoder_embed_path,
        freeze=cfg.encoder_freeze_embed,
        side="encoder",
    )
    if cfg.share_all_embeddings:
        return source, source
    target = build_embedding(
        tgt_dict,
        cfg.decoder_embed_dim,
        path=cfg.decoder_embed_path,
        freeze=cfg.decoder_freeze_embed,
        side="decoder",
    )
    return source, target


def build_embedding(
    dictionary: Dictionary,
    embed_dim: int,
    path: Optional[str] = None,
    freeze: bool = False,
    side: str = "encoder",
) -> nn.Embedding:
    """Make an embedding table ``V x embed_dim``; the padding row is zero.

    Args:
        dictionary: V symbols.
        embed_dim: embedding dimension.
        path: text file of pre-trained vectors (a header line, then a word and its numbers
            on each line); words that it lacks keep their random vectors.
        freeze: do not train the table.
        side: ``"encoder"`` or ``"decoder"``, for messages.

    Raises:
        ValueError: the file cannot be read as vectors of that dimension, or shares no word
            with the dictionary.
    """
    embedding = nn.Embedding(len(dictionary), embed_dim, padding_idx=dictionary.pad())
    nn.init.normal_(embedding.weight, std=embed_dim**-0.5)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    if path:
        _load_pretrained(embedding, dictionary, path, side)
    if freeze:
        embedding.weight.requires_grad_(False)
    return embedding


def _load_pretrained(embedding: nn.Embedding, dictionary: Dictionary, path: str, side: str):
    option = f"--{side}-embed-path"
    try:
        vectors = utils.parse_embedding(path)
    except (OSError, ValueError, StopIteration) as error:
        raise ValueError(
            f"{option} {path} cannot be read as text vectors ({error}); expected a header "
            "line, then a word and its numbers on each line, separated by single spaces"
        ) from error
    sizes = sorted({len(vector) for vector in vectors.values()})
    if sizes != [embedding.embedding_dim]:
        raise ValueError(
            f"{option} {path} holds vectors of size {', '.join(map(str, sizes)) or 'none'}, "
            f"but --{side}-embed-dim is {embedding.embedding_dim}; make them equal"
        )
    if not any(word in vectors for word in dictionary.symbols):
        raise ValueError(
            f"{option} {path} has no word of the {side}'s dictionary; vectors must be of the "
            "same segmentation (BPE) and casing as the data"
        )
    utils.load_embedding(vectors, dictionary, embedding)
