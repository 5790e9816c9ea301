"""Batches of labelled text: words, characters, labels, order and length."""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from fairseq_lrn.data.labelled_dataset import (
    LabelledDataset,
    TextInput,
    WithoutEnd,
    collate_characters,
    lengths_of,
)

TEXTS = ["a dog", "the very old dog sleeps", "sleeps", "a"]
PAIRS = ["the dog", "a", "very very old", "dog sleeps a dog"]


def dictionary_of(symbols):
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


WORDS = dictionary_of("a the dog very old sleeps".split())
CHARACTERS = dictionary_of("thedogvrylsapz")


def text_input(texts):
    words, characters = [], []
    for text in texts:
        words.append(torch.tensor([WORDS.index(word) for word in text.split()]))
        spelled = [
            index
            for word in text.split()
            for index in [*(CHARACTERS.index(letter) for letter in word), CHARACTERS.eos()]
        ]
        characters.append(torch.tensor(spelled))
    return TextInput(words, characters)


def spelled(batch):
    """The words of a batch from their characters, ``</w>`` for padding."""
    return [
        ["".join(CHARACTERS[c] for c in word if c != CHARACTERS.pad()) for word in text]
        for text in batch.tolist()
    ]


@pytest.fixture
def build():
    def make(texts=(TEXTS,), labels=None, characters=CHARACTERS, **options):
        inputs = [text_input(part) for part in texts]
        return LabelledDataset(inputs, WORDS, characters, labels, **options)

    return make


def test_words_and_characters_of_a_batch(build):
    dataset = build()
    batch = dataset.collater([dataset[1], dataset[0], dataset[2]])
    found = batch["net_input"]
    assert sorted(found) == ["src_characters", "src_lengths", "src_tokens"]
    assert found["src_lengths"].tolist() == [5, 2, 1]
    assert batch["ntokens"] == 8 and batch["nsentences"] == 3 and "target" not in batch
    rows = [TEXTS[index].split() for index in (1, 0, 2)]
    padded = [row + (5 - len(row)) * [""] for row in rows]
    assert spelled(found["src_characters"]) == padded
    tokens = [[WORDS[t] if t != WORDS.pad() else "" for t in row] for row in found["src_tokens"]]
    assert tokens == padded


def test_padding_to_a_multiple(build):
    """Texts and tags, but not answers, which have two numbers."""
    tags = [torch.ones(len(text.split()), dtype=torch.long) for text in TEXTS]
    dataset = build(labels=tags, length_multiple=4)
    batch = dataset.collater([dataset[1], dataset[0]])
    shapes = {name: tuple(value.shape[:2]) for name, value in batch["net_input"].items()}
    assert shapes == {"src_tokens": (2, 8), "src_characters": (2, 8), "src_lengths": (2,)}
    assert batch["target"].tolist() == [[1] * 5 + [0] * 3, [1] * 2 + [0] * 6]
    answers = list(torch.tensor([[0, 0], [0, 0], [1, 2], [0, 3]]))
    dataset = build((TEXTS, PAIRS), labels=answers, length_multiple=4)
    batch = dataset.collater([dataset[2], dataset[3]])
    assert batch["target"].tolist() == [[1, 2], [0, 3]]
    assert batch["net_input"]["other_tokens"].shape == (2, 4)


def test_long_words_are_cut(build):
    dataset = build(max_word_length=3)
    batch = dataset.collater([dataset[1]])["net_input"]
    assert batch["src_tokens"].size(1) == 5
    assert spelled(batch["src_characters"]) == [["the", "ver", "old", "dog", "sle"]]


@pytest.mark.parametrize("shape", [(1, 0), (2, 3)])
def test_no_characters(shape):
    none = torch.zeros(0, dtype=torch.long)
    found = collate_characters(
        shape[0] * [none], torch.zeros(shape, dtype=torch.bool), CHARACTERS, 9
    )
    assert found.shape == (*shape, 1) and bool(found.eq(CHARACTERS.pad()).all())


def test_without_characters(build):
    dataset = build(characters=None)
    assert sorted(dataset.collater([dataset[0]])["net_input"]) == ["src_lengths", "src_tokens"]


def test_pairs(build):
    dataset = build((TEXTS, PAIRS), labels=torch.tensor([1, 0, 2, 1]))
    assert dataset.sizes.tolist() == [4, 6, 4, 5]
    batch = dataset.collater([dataset[3], dataset[1]])
    found = batch["net_input"]
    assert found["src_lengths"].tolist() == [1, 5]
    assert found["other_lengths"].tolist() == [4, 1]
    assert spelled(found["other_characters"]) == [PAIRS[3].split(), ["a", "", "", ""]]
    assert batch["target"].tolist() == [1, 0] and batch["ntokens"] == 11


def test_tags_are_padded_like_words(build):
    tags = [torch.arange(1, 1 + len(text.split())) for text in TEXTS]
    dataset = build(labels=tags)
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["target"].tolist() == [[1, 2, 0, 0, 0], [1, 2, 3, 4, 5]]


def test_texts_are_cut_with_their_tags_and_characters(build):
    tags = [torch.arange(1, 1 + len(text.split())) for text in TEXTS]
    dataset = build(labels=tags, max_words=2)
    assert dataset.sizes.tolist() == [2, 2, 1, 1]
    batch = dataset.collater([dataset[1]])
    assert spelled(batch["net_input"]["src_characters"]) == [["the", "very"]]
    assert batch["target"].tolist() == [[1, 2]] and batch["net_input"]["src_lengths"] == 2


def test_order(build):
    dataset = build((4 * TEXTS,))
    indices = dataset.ordered_indices()
    assert sorted(indices) == list(range(16))
    assert dataset.sizes[indices].tolist() == sorted(dataset.sizes)
    assert indices[:4].tolist() == [2, 3, 6, 7]
    shuffled = build((4 * TEXTS,), shuffle=True)
    np.random.seed(1)
    first, second = shuffled.ordered_indices(), shuffled.ordered_indices()
    assert dataset.sizes[first].tolist() == sorted(dataset.sizes)
    assert first.tolist() != second.tolist()


def test_sizes(build):
    dataset = build()
    assert [dataset.num_tokens(index) for index in range(4)] == [2, 5, 1, 1]
    assert dataset.size(1) == 5 and dataset.num_tokens_vec(np.array([0, 1])).tolist() == [2, 5]
    assert len(dataset) == 4 and dataset.collater([]) == {}


def test_without_end():
    found = WithoutEnd([torch.tensor([5, 6, 2]), torch.tensor([2])], offset=4)
    assert len(found) == 2 and found[0].tolist() == [1, 2] and found[1].tolist() == []
    assert lengths_of(found).tolist() == [2, 0]
