"""Embeddings of words with pre-trained vectors, trained or fixed."""

import pytest
import torch

from fairseq_lrn.modules.word_embedding import WordEmbedding

HAS_VECTOR = torch.tensor([False, False, False, True, False, True, True])
VECTORS = torch.arange(12.0).view(3, 4) + 10
PAD = 1


def build(freeze):
    return WordEmbedding(7, 4, PAD, HAS_VECTOR, VECTORS, freeze)


@pytest.mark.parametrize("freeze", [False, True])
def test_vectors(freeze):
    module = build(freeze)
    tokens = torch.tensor([[3, 5, 6], [0, 1, 2]])
    found = module(tokens)
    assert torch.equal(found[0], VECTORS) and bool((found[1, 1] == 0).all())
    assert bool((found[1, [0, 2]] != 0).all())
    found.pow(2).sum().backward()
    assert module.weight.shape == ((4 if freeze else 7), 4)
    is_trained = module.weight.grad.abs().sum(1) > 0
    # 0 and 2 were read; without freeze 3, 5 and 6, too; padding never learns.
    assert is_trained.tolist() == (
        [True, False, True, False] if freeze else [True, False, True, True, False, True, True]
    )


def test_frequent_words_are_trained():
    module = WordEmbedding(7, 4, PAD, HAS_VECTOR, VECTORS, freeze=True, first_fixed=6)
    assert module.is_fixed.tolist() == [False] * 6 + [True]
    tokens = torch.tensor([3, 5, 6])
    assert torch.equal(module(tokens), VECTORS)  # they begin with their pre-trained vectors
    module(tokens).sum().backward()
    assert (module.weight.grad.sum(1) > 0).tolist() == [False, False, False, True, False, True]


def test_fixed_vectors_are_no_parameters():
    assert [name for name, _ in build(True).named_parameters()] == ["weight"]
    assert set(build(True).state_dict()) == {"weight", "fixed", "is_fixed"}


@pytest.mark.parametrize("freeze", [False, True])
def test_loading_needs_no_vectors(freeze):
    module = build(freeze)
    other = WordEmbedding(7, 4, PAD)
    other.load_state_dict(module.state_dict())
    tokens = torch.arange(7)
    assert torch.equal(other(tokens), module(tokens))
    again = build(freeze)
    again.load_state_dict(other.state_dict())
    assert torch.equal(again(tokens), module(tokens))


def test_loading_keeps_the_parameter():
    """Wrappers for several processes refer to it."""
    module = WordEmbedding(7, 4, PAD)
    weight = module.weight
    module.load_state_dict(build(True).state_dict())
    assert module.weight is weight and len(weight) < 7
    module(torch.arange(7)).sum().backward()
    assert weight.grad.shape == weight.shape


def test_the_state_dict_decides_what_is_fixed(caplog):
    for freeze in (False, True):
        module = build(freeze)
        module.load_state_dict(build(freeze).state_dict())
        WordEmbedding(7, 4, PAD).load_state_dict(build(freeze).state_dict())
        assert not caplog.records
        module.load_state_dict(build(not freeze).state_dict())
        assert "--freeze-word-vectors have no effect" in caplog.text
        caplog.clear()


def test_frozen_module_stays_frozen():
    other = WordEmbedding(7, 4, PAD).requires_grad_(False)
    other.load_state_dict(build(True).state_dict())
    assert not other.weight.requires_grad


def test_all_words_fixed_but_padding():
    has_vector = torch.tensor([True, False, True])
    module = WordEmbedding(3, 2, 1, has_vector, torch.ones(2, 2), freeze=True)
    assert module(torch.tensor([0, 1, 2])).tolist() == [[1, 1], [0, 0], [1, 1]]


def test_scale_of_new_vectors():
    assert abs(WordEmbedding(500, 64, PAD).weight.std() - 1 / 8) < 0.01


def test_vectors_that_do_not_fit():
    with pytest.raises(ValueError, match=r"vectors \(2, 4\) do not fit 3 of 7 words"):
        WordEmbedding(7, 4, PAD, HAS_VECTOR, VECTORS[:2])
