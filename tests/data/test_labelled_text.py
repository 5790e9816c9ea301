"""Words, their places and their characters; subwords are in test_prepare_labelled.py."""

import json

import pytest
from fairseq.data import Dictionary

from fairseq_lrn.data.labelled_text import LabelledText, character_indices
from fairseq_lrn.errors import InputError

RECORD = {
    **{"kind": "tags", "tokenizer": "space", "language": "en", "lowercase": True},
    **{"characters": True, "version": 1},
}


@pytest.fixture
def make(tmp_path):
    """A function that makes a text with some other options."""

    def make(**options):
        (tmp_path / "prepare_labelled.json").write_text(json.dumps({**RECORD, **options}))
        return LabelledText(str(tmp_path))

    return make


def test_record(make):
    text = make()
    assert (text.kind, text.characters) == ("tags", True)


def test_spaces(make):
    text = make()
    assert text.words("  The  Cat's\u2003mat. ") == ["The", "Cat's", "mat."]
    assert text.words("") == []
    assert text.lookup("Cat's") == "cat's"
    assert make(lowercase=False).lookup("Cat's") == "Cat's"


def test_moses(make):
    text = make(kind="text", tokenizer="moses")
    expected = ['"', "The", "Cat", "'s", "_", "mat", ".", '"']
    assert text.words("“The  Cat's\u2581mat.”") == expected
    # prepare-labelled makes one space of this one, for which Moses has rules of its own.
    assert text.words("10\u00a0000") == ["10", "000"]


def test_punctuation_apart(make):
    text = make(kind="text", tokenizer="punctuation", language=None)
    assert text.words("“The  Cat's mat.”") == ["“", "The", "Cat", "'s", "mat", ".", "”"]
    found = text.words_with_offsets(" Yes,\u2003no▁.")  # Moses and sentencepiece change this mark
    assert found == [("Yes", 1, 4), (",", 4, 5), ("no", 6, 8), ("▁", 8, 9), (".", 9, 10)]


def test_line_breaks_in_texts_that_have_answers(make):
    text = make(kind="spans", tokenizer="punctuation", language=None)
    assert text.words("a\n\nb\n") == ["a", "b"]
    assert text.words_with_offsets("a\n\nb\n") == [("a", 0, 1), ("b", 3, 4)]
    with pytest.raises(InputError, match="the text must be a string, not int"):
        text.words(5)
    other = make(kind="pair", tokenizer="punctuation", language=None)
    for read in (other.words, other.words_with_offsets):
        with pytest.raises(InputError, match="line 2 has several lines"):
            read("a\nb", "line 2")


RAW = " Peter lives\tin  Bad Homburg, “here” now. "


@pytest.mark.parametrize("tokenizer", [None, "space"])
def test_places_between_spaces(make, tokenizer):
    found = make().words_with_offsets(RAW, tokenizer=tokenizer)
    assert [word for word, _, _ in found] == RAW.split()
    assert [RAW[start:end] for _, start, end in found] == RAW.split()


def test_places_of_tokens(make):
    found = make().words_with_offsets(RAW, tokenizer="moses")
    expected = ["Peter", "lives", "in", "Bad", "Homburg", ",", '"', "here", '"', "now", "."]
    assert [word for word, _, _ in found] == expected
    expected[6], expected[8] = "“", "”"
    assert [RAW[start:end] for _, start, end in found] == expected


def test_text_without_words_has_no_places(make):
    assert make().words_with_offsets(" ") == []
    assert make().words_with_offsets(" ", tokenizer="moses") == []


def test_tokenizer_of_the_data_is_the_default(make):
    found = make(kind="text", tokenizer="moses").words_with_offsets("Yes, no.")
    assert found == [("Yes", 0, 3), (",", 3, 4), ("no", 5, 7), (".", 7, 8)]


def test_bad_text(make):
    text = make(language=None)
    with pytest.raises(InputError, match="line 3 must be a string, not int"):
        text.words(5, "line 3")
    for tokenizer in ("space", "moses"):
        with pytest.raises(InputError, match="the text has several lines|Moses has no rules"):
            text.words_with_offsets("a\nb", tokenizer=tokenizer)
    with pytest.raises(InputError, match="Moses has no rules .* line 3 by spaces"):
        text.words_with_offsets("a", "line 3", "moses")


def test_bad_directory(make, tmp_path):
    with pytest.raises(InputError, match="sentencepiece.bpe.model is missing: copy it again"):
        make(tokenizer="sentencepiece")
    with pytest.raises(InputError, match="cannot read .*prepare_labelled.json"):
        LabelledText(str(tmp_path / "nothing"))


@pytest.fixture
def dictionary():
    symbols = Dictionary()  # <s> 0, <pad> 1, </s> 2, <unk> 3
    for symbol in ("ab", "a", "b"):
        symbols.add_symbol(symbol)
    return symbols


def test_indices_of_words(make, dictionary):
    # A word that is written like a special symbol is an unknown word.
    assert make().indices(["b", "aB", "c", "<pad>", "a"], dictionary).tolist() == [6, 4, 3, 3, 5, 2]
    assert make().indices([], dictionary).tolist() == [2]


def test_a_word_that_the_dictionary_has_in_lower_case(make, dictionary):
    words = make(lowercase=False).indices(["AB", "ab", "C"], dictionary)
    assert words.tolist() == [4, 4, 3, 2]


def test_indices_of_characters(dictionary):
    assert character_indices(["ab", "b", "äa"], dictionary).tolist() == [5, 6, 2, 6, 2, 3, 5, 2]
    assert character_indices([], dictionary).tolist() == []
