"""Embedding matrices, random or pre-trained."""

from typing import Optional, Tuple

import torch
from fairseq.data import Dictionary
from torch import nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.word_vectors import read_word_vectors


def build_embeddings(cfg, src_dict: Dictionary, tgt_dict: Dictionary) -> Tuple[nn.Embedding, ...]:
    """The source embedding and the target embedding of a model.

    With ``--share-all-embeddings``, both are the same module.

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
    """An embedding with the matrix ``V x embed_dim``. The row of padding is zero.

    Args:
        dictionary: dictionary of V tokens.
        embed_dim: embedding dimension.
        path: file of pre-trained vectors, see :func:`~fairseq_lrn.word_vectors.read_word_vectors`.
            Tokens that are not in the file keep random vectors.
        freeze: do not train the matrix.
        side: ``"encoder"`` or ``"decoder"``, for messages.

    Raises:
        ValueError: the file is not a text file of vectors, its vectors do not have *embed_dim*
            numbers, or it contains no token of the dictionary.
    """
    embedding = nn.Embedding(len(dictionary), embed_dim, padding_idx=dictionary.pad())
    nn.init.normal_(embedding.weight, std=embed_dim**-0.5)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    if path:
        _load_pretrained(embedding, dictionary, path, side)
        nn.init.zeros_(embedding.weight[dictionary.pad()])  # the file may have a vector for it
    if freeze:
        embedding.weight.requires_grad_(False)
    return embedding


def _load_pretrained(embedding: nn.Embedding, dictionary: Dictionary, path: str, side: str):
    option = f"--{side}-embed-path"
    try:
        words, vectors = read_word_vectors(path, dictionary.indices)
    except InputError as error:
        raise ValueError(f"{option}: {error}") from error
    if vectors.shape[1] != embedding.embedding_dim:
        raise ValueError(
            f"{option} {path} has vectors of size {vectors.shape[1]}, but --{side}-embed-dim is "
            f"{embedding.embedding_dim}; make them equal"
        )
    if not words:
        raise ValueError(
            f"{option} {path} contains no token of the {side}'s dictionary; its words must have "
            "the segmentation (BPE) and casing of the data"
        )
    with torch.no_grad():
        embedding.weight[[dictionary.index(word) for word in words]] = torch.from_numpy(vectors)
