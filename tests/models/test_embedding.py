"""Embedding matrices, random and from files of pre-trained vectors."""

import pytest
import torch

from fairseq_lrn.models.embedding import build_embedding, build_embeddings
from fairseq_lrn.models.translation.lrn_config import LRNConfig
from small_models import dictionary

SIZE = 16


@pytest.fixture
def vectors(tmp_path):
    """A function that writes a file of vectors; all numbers of the n-th vector are n + 1."""

    def write(size=SIZE, words=("word3", "word7", "other"), header=True):
        path = tmp_path / "vectors.txt"
        lines = [f"{word}{f' {n + 1}' * size}" for n, word in enumerate(words)]
        path.write_text("\n".join([f"{len(words)} {size}"] * header + lines) + "\n")
        return str(path)

    return write


def options(**changes):
    sizes = {"encoder_embed_dim": SIZE, "decoder_embed_dim": SIZE}
    return LRNConfig(**sizes, **changes)


def test_random_embedding():
    words = dictionary(2000)
    weight = build_embedding(words, SIZE).weight
    assert weight.shape == (len(words), SIZE) and weight.requires_grad
    assert weight[words.pad()].abs().max() == 0
    assert weight.std().item() == pytest.approx(SIZE**-0.5, rel=0.05)


def test_pretrained_vectors(vectors):
    words = dictionary()
    weight = build_embedding(words, SIZE, vectors()).weight
    assert torch.equal(weight[words.index("word3")], torch.full((SIZE,), 1.0))
    assert torch.equal(weight[words.index("word7")], torch.full((SIZE,), 2.0))
    assert weight[words.index("word4")].unique().numel() == SIZE  # it keeps a random vector


def test_without_header(vectors):
    """The first line counts; fairseq's own reader drops it."""
    words = dictionary()
    weight = build_embedding(words, SIZE, vectors(header=False)).weight
    assert torch.equal(weight[words.index("word3")], torch.full((SIZE,), 1.0))


def test_frozen_embedding():
    assert not build_embedding(dictionary(), SIZE, freeze=True).weight.requires_grad


def test_both_sides(vectors):
    words = dictionary()
    cfg = options(decoder_embed_path=vectors(), encoder_freeze_embed=True)
    source, target = build_embeddings(cfg, words, words)
    assert not source.weight.requires_grad and target.weight.requires_grad
    assert not torch.equal(source.weight[words.index("word3")], torch.full((SIZE,), 1.0))
    assert torch.equal(target.weight[words.index("word3")], torch.full((SIZE,), 1.0))


def test_shared_embedding():
    words = dictionary()
    source, target = build_embeddings(options(share_all_embeddings=True), words, words)
    assert source is target


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_files_that_do_not_fit(vectors, tmp_path, side):
    def build(path):
        return build_embedding(dictionary(), SIZE, path, side=side)

    with pytest.raises(ValueError, match=f"vectors of size 8, but --{side}-embed-dim is 16; make"):
        build(vectors(size=8))
    with pytest.raises(
        ValueError, match=f"contains no token of the {side}'s dictionary; its words"
    ):
        build(vectors(words=("a", "b")))
    (tmp_path / "empty.txt").touch()
    (tmp_path / "prose.txt").write_text("This is a header.\nThis is a line.\n")
    for name, reason in (
        ("absent.txt", "No such file"),
        ("empty.txt", "is empty"),
        ("prose.txt", "line 1: expected a word and the numbers of its vector"),
    ):
        with pytest.raises(ValueError, match=f"--{side}-embed-path: .*{name}.*{reason}"):
            build(str(tmp_path / name))
