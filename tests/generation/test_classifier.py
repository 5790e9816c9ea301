"""Classifiers with raw text: results, batches, bad input. The models are untrained."""

import shutil

import pytest
import torch

from fairseq_lrn import load_classifier
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import HEAD
from labelled_corpus import pairs, untrained_model


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("reviews"), "reviews")


@pytest.fixture(scope="module")
def classifier(checkpoints):
    return load_classifier(checkpoints, device="cpu")


@pytest.fixture(scope="module")
def pair_classifier(tmp_path_factory):
    directory = untrained_model(tmp_path_factory.mktemp("pairs"), "pairs")
    return load_classifier(str(directory), device="cpu")


TEXTS = ["a fine film", "dull", "an unheard-of plot , dull and long and long", "fine fine"]


def test_one_text(classifier):
    found = classifier("a fine film")
    assert found.words == ["a", "fine", "film"] and found.label in ("good", "bad")
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.probability == found.probabilities[found.label] >= 0.5
    assert next(iter(found.probabilities)) == found.label
    assert len(found.attention) == 3 and sum(found.attention) == pytest.approx(1)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_batch_gives_what_single_texts_give(classifier, batch_size):
    for text, found in zip(TEXTS, classifier(TEXTS, batch_size=batch_size)):
        alone = classifier(text)
        assert found.words == alone.words == text.split()
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert found.attention == pytest.approx(alone.attention, abs=1e-5)
    assert classifier([]) == []


def test_a_text_without_words_is_an_unknown_word(classifier):
    empty = classifier(" \n ")
    assert empty.words == [] and empty.attention == []
    unknown = torch.tensor([[classifier.task.dictionary.unk()]])
    no_characters = torch.full((1, 1, 1), classifier.task.character_dictionary.pad())
    logits, _ = classifier.model(
        unknown, src_characters=no_characters, classification_head_name=HEAD
    )
    found = [empty.probabilities[label] for label in classifier.labels]
    assert found == pytest.approx(torch.softmax(logits, 1)[0].tolist())


def test_line_breaks_are_spaces(classifier):
    found = classifier("a fine\nfilm\n")
    assert found == classifier("a fine film")


def test_pairs(pair_classifier):
    pair = ("a dog sleeps", "an animal")
    found = pair_classifier(pair)
    assert found.label in ("same", "other")
    assert found.words == [["a", "dog", "sleeps"], ["an", "animal"]]
    assert [len(weights) for weights in found.attention] == [3, 2]
    both = pair_classifier([pair, ("a cat", "")])
    assert both[0].probabilities == pytest.approx(found.probabilities, abs=1e-5)
    assert both[1].words == [["a", "cat"], []]


@pytest.mark.parametrize("sample", ["a dog", ("a", "b", "c"), 5])
def test_no_pair(pair_classifier, sample):
    with pytest.raises(InputError, match="text 1 must be a tuple of two strings"):
        pair_classifier([sample])
    with pytest.raises(InputError, match="give a tuple of two strings"):
        pair_classifier("a dog")


def test_bad_input(classifier):
    with pytest.raises(InputError, match="text 2"):
        classifier(["good", 7])
    with pytest.raises(InputError, match="text 11"):
        classifier(["a\ud800b"], first_number=11)
    with pytest.raises(InputError, match="batch_size must be a whole number above 0"):
        classifier(TEXTS, batch_size=0)


def test_directory_is_self_contained(checkpoints, classifier, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(checkpoints, moved)
    hidden = checkpoints.parent / "data"
    hidden.rename(tmp_path / "elsewhere")
    try:
        again = load_classifier(moved, device="cpu")
        assert again(TEXTS[0]).probabilities == classifier(TEXTS[0]).probabilities
    finally:
        (tmp_path / "elsewhere").rename(hidden)


def test_data_of_another_kind(checkpoints, tmp_path):
    with pytest.raises(
        InputError, match="the data are pairs of texts, .*: give the data that it was"
    ):
        load_classifier(checkpoints, data=pairs(tmp_path))


def test_other_models_are_refused(lm_checkpoints):
    with pytest.raises(InputError, match="a classifier needs --task text_classification"):
        load_classifier(lm_checkpoints)
