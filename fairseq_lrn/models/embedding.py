"""Embedding matrices, random or pre-trained."""

from typing import Optional, Tuple

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn


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
        path: text file of pre-trained vectors. It has a header line, then on each line a word and
            the numbers of its vector. Tokens that are not in the file keep random vectors.
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
    if freeze:
        embedding.weight.requires_grad_(False)
    return embedding


def _load_pretrained(embedding: nn.Embedding, dictionary: Dictionary, path: str, side: str):
    option = f"--{side}-embed-path"
    try:
        vectors = utils.parse_embedding(path)
    except (OSError, ValueError, StopIteration) as error:
        raise ValueError(
            f"{option} {path} cannot be read as text vectors ({error}); expected a header line, "
            "then on each line a word and the numbers of its vector, separated by single spaces"
        ) from error
    sizes = sorted({len(vector) for vector in vectors.values()})
    if sizes != [embedding.embedding_dim]:
        raise ValueError(
            f"{option} {path} has vectors of size {', '.join(map(str, sizes)) or 'none'}, "
            f"but --{side}-embed-dim is {embedding.embedding_dim}; make them equal"
        )
    if not any(token in vectors for token in dictionary.symbols):
        raise ValueError(
            f"{option} {path} contains no token of the {side}'s dictionary; its words must have "
            "the segmentation (BPE) and casing of the data"
        )
    utils.load_embedding(vectors, dictionary, embedding)
