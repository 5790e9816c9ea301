"""Indices of symbols."""

from fairseq.data import Dictionary

from fairseq_lrn.data.symbols import SPECIAL, word_indices


def test_word_indices():
    dictionary = Dictionary()
    for symbol in ("ab", "a", "b"):
        dictionary.add_symbol(symbol)
    # A word that is written like a special symbol is an unknown word.
    words = ["b", "ab", "c", "<pad>", "</s>", "a"]
    assert word_indices(words, dictionary).tolist() == [6, 4, 3, 3, 3, 5, 2]
    assert word_indices([], dictionary).tolist() == [2]


def test_special_symbols():
    assert SPECIAL == {"<s>", "<pad>", "</s>", "<unk>"}
