"""Taggers with raw text: entities and their places, batches, bad input. The model is untrained."""

import pytest

from fairseq_lrn import load_tagger
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.tagger import Entity, entities_of
from labelled_corpus import untrained_model


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    directory = untrained_model(tmp_path_factory.mktemp("tagged"), "tagged")
    return load_tagger(directory, device="cpu")


TEXTS = ["Ada lives in Paris", "Maria", "in  in Rome   and Paul Klee runs", ""]


def test_words_and_tags(tagger):
    found = tagger("Ada lives in  Paris", tokenizer="space")
    assert found.words == ["Ada", "lives", "in", "Paris"] and len(found.tags) == 4
    assert all(tag == "O" or tag[:2] in ("B-", "I-") for tag in found.tags)
    for entity in found.entities:
        assert entity.text == "Ada lives in  Paris"[entity.start : entity.end]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_a_batch_gives_what_single_texts_give(tagger, batch_size):
    found = tagger(TEXTS, tokenizer="space", batch_size=batch_size)
    assert found == [tagger(text, tokenizer="space") for text in TEXTS]
    assert found[3].words == found[3].tags == found[3].entities == []


def test_words_that_are_given(tagger):
    words = ["Ada", "lives", "in", "Paris", "."]
    (found,) = tagger.tag_words([words])
    assert found == tagger("Ada lives in Paris .", tokenizer="space")


@pytest.mark.parametrize(
    "words, message",
    [
        ("Ada slept .", "sentence 2 must be a list of words"),
        (["New York", "is"], "sentence 2 has the word 'New York', which is empty or has white"),
        (["a", "", "b"], "has the word ''"),
        (["10\u00a0000"], "white space"),
        ([5], "sentence 2, word 1, must be a string, not int"),
        (None, "sentence 2 must be a list of words"),
        (["a", "\ud800"], r"sentence 2, word 2, has the code point U\+D800"),
    ],
)
def test_words_that_are_none(tagger, words, message):
    with pytest.raises(InputError, match=message):
        tagger.tag_words([["fine"], words])


def test_entities_have_places_in_the_text():
    text = "  Ada  Lovelace, of London"
    words = [("Ada", 2, 5), ("Lovelace", 7, 15), (",", 15, 16), ("of", 17, 19), ("London", 20, 26)]
    assert entities_of(text, words, ["B-PER", "I-PER", "O", "O", "B-LOC"]) == [
        Entity("PER", "Ada  Lovelace", 2, 15),
        Entity("LOC", "London", 20, 26),
    ]


def test_moses_parts_punctuation(tagger):
    found = tagger("Ada, (Paris).", tokenizer="moses")
    assert found.words == ["Ada", ",", "(", "Paris", ")", "."]


def test_bad_input(tagger):
    with pytest.raises(InputError, match="text 2"):
        tagger(["Ada", 7])
    with pytest.raises(InputError, match="give each line as a sentence of its own$"):
        tagger("Ada lives.\nBen runs.")
    with pytest.raises(InputError, match="tokenizer must be space or moses, not 'words'"):
        tagger("Ada", tokenizer="words")


def test_other_models_are_refused(lm_checkpoints):
    with pytest.raises(InputError, match="a tagger needs --task sequence_tagging"):
        load_tagger(lm_checkpoints)
