"""Words of labelled texts; whole data are in test_prepare_labelled.py and test_prepare_spans.py."""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from fairseq_lrn.data.labelled_options import LabelledOptions, write_record
from fairseq_lrn.data.labelled_text import LabelledText
from fairseq_lrn.data.prepare_words import (
    count_words,
    find_vectors,
    has_characters,
    learn_bpe,
    make_dictionary,
    read_sequences,
    read_sizes,
    tokenize,
    write_sequences,
    write_words,
)
from fairseq_lrn.errors import InputError

RAW = {"train": [["The cat.", "the"], ["A dog", "A <pad>!"]], "valid": [["cat Cats"], ["dog"]]}
WORDS = {
    "train": [["The cat .", "the"], ["A dog", "A < pad > !"]],
    "valid": [["cat Cats"], ["dog"]],
}


@pytest.fixture
def make(tmp_path):
    """A function that makes options and what makes words."""

    def make(**options):
        options = LabelledOptions(
            **{"kind": "pair", "tokenizer": "punctuation", **options},
            trainpref="",
            destdir=str(tmp_path),
        )
        write_record(str(tmp_path), options)
        return options, LabelledText(str(tmp_path))

    return make


@pytest.mark.parametrize("workers", [1, 2])
def test_words_of_all_sides(make, workers):
    _, text = make()
    assert {split: list(sides) for split, sides in tokenize(text, RAW, workers).items()} == WORDS


def test_several_processes_keep_the_order(make):
    _, text = make()
    lines = [f"w{number}." for number in range(450)]
    (side,) = tokenize(text, {"train": [lines]}, 2)["train"]
    assert side == [f"w{number} ." for number in range(450)]


def test_counts_are_those_of_words_in_the_dictionary(make):
    lines = ["The cat .", "the"]
    assert count_words(lines, make()[1]) == {"The": 1, "the": 1, "cat": 1, ".": 1}
    assert count_words(lines, make(lowercase=True)[1]) == {"the": 2, "cat": 1, ".": 1}


def test_dictionary():
    dictionary = make_dictionary({"a": 1, "b": 3, "<pad>": 9, "c": 2})
    assert dictionary.symbols[4:] == ["b", "c", "a"] and dictionary.count[4:] == [3, 2, 1]


def test_rare_words_alone_make_no_dictionary(make, tmp_path):
    options, text = make(threshold=9)
    with pytest.raises(InputError, match="no word occurs 9 times in .*: lower --threshold"):
        write_words(str(tmp_path), tokenize(text, RAW, 1), text, options)


@pytest.mark.parametrize("size, dtype", [(4, np.uint16), (1 << 20, np.uint32)])
def test_numbers_come_back(tmp_path, size, dtype):
    numbers = [[1, 2, 3], [], [size - 1]]
    path = tmp_path / "new" / "train"
    write_sequences(str(path), map(torch.tensor, numbers), size)
    found = read_sequences(str(tmp_path), "new", "train")
    assert [found[index].tolist() for index in range(3)] == numbers
    assert path.with_suffix(".bin").stat().st_size == 4 * np.dtype(dtype).itemsize
    del found
    assert read_sizes(str(tmp_path), "new", "train").tolist() == [3, 0, 1]


def symbols(directory, name, split, dictionary):
    """The symbols of each sequence."""
    names = Dictionary.load(str(directory / dictionary / "dict.txt"))
    found = read_sequences(str(directory), name, split)
    return [[names[token] for token in found[index]] for index in range(len(found))]


def test_written_words_and_characters(make, tmp_path, caplog):
    caplog.set_level("INFO")
    options, text = make(lowercase=True)
    write_words(str(tmp_path), WORDS, text, options)
    assert symbols(tmp_path, "input0", "train", "input0") == [
        ["the", "cat", ".", "</s>"],
        ["the", "</s>"],
    ]
    assert symbols(tmp_path, "input1", "valid", "input1") == [["dog", "</s>"]]
    assert symbols(tmp_path, "input0", "valid", "input0") == [["cat", "<unk>", "</s>"]]
    expected = ["A", "</s>", *"dog", "</s>"]
    assert symbols(tmp_path, "characters1", "train", "characters")[0] == expected
    assert all(has_characters(str(tmp_path), side, "train") for side in (0, 1))
    messages = [record.getMessage() for record in caplog.records]
    assert "dictionary: 9 words" in messages  # the cat . a dog < pad > !
    assert "train: 11 words, 0.00% of them unknown" in messages
    assert "valid: 3 words, 33.33% of them unknown" in messages


def test_a_word_may_be_known_in_lower_case(make, tmp_path, caplog):
    caplog.set_level("INFO")
    options, text = make()
    write_words(str(tmp_path), {"train": [["a zebra"]], "valid": [["The Zebra"]]}, text, options)
    expected = [["<unk>", "zebra", "</s>"]]
    assert symbols(tmp_path, "input0", "valid", "input0") == expected
    assert "valid: 2 words, 50.00% of them unknown" in caplog.text


def test_characters_may_be_left_out(make, tmp_path):
    options, text = make(characters=False)
    write_words(str(tmp_path), WORDS, text, options)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("prepare_labelled.json", "input0", "input1")
    }


def test_characters_of_other_words_are_found(make, tmp_path):
    options, text = make()
    write_words(str(tmp_path), WORDS, text, options)
    write_sequences(str(tmp_path / "characters0" / "train"), [torch.tensor([5, 2])] * 2, 10)
    assert not has_characters(str(tmp_path), 0, "train")
    assert has_characters(str(tmp_path), 1, "train")


def test_bpe_of_the_training_texts(make, tmp_path):
    options, _ = make(tokenizer="space")
    options = LabelledOptions("text", "", "", tokenizer="sentencepiece", vocab_size=20)
    learn_bpe(str(tmp_path), [["low lower", "lowest"], ["slow"]], options)
    write_record(str(tmp_path), options)
    assert "".join(LabelledText(str(tmp_path)).words("slow")) == "\u2581slow"
    assert not (tmp_path / "text").exists()


def vectors(path, rows):
    path.write_text("".join(f"{word} {numbers}\n" for word, numbers in rows.items()))
    return str(path)


ROWS = {"the": "1 2", "cat": "3 4", "Far": "5 6", "<pad>": "7 8", "<unk>": "9 9"}


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, {"the": [1, 2], "The": [1, 2]}),
        ({"all_vectors": True}, {"the": [1, 2], "The": [1, 2], "cat": [3, 4], "Far": [5, 6]}),
        # No lower-cased text has "Far".
        ({"all_vectors": True, "lowercase": True}, {"the": [1, 2], "The": [1, 2], "cat": [3, 4]}),
    ],
)
def test_vectors(make, tmp_path, options, expected):
    """Special symbols have none, and a word gets that of its lower-cased form."""
    options, text = make(vectors=vectors(tmp_path / "vectors.txt", ROWS), **options)
    words = {"the", "The", "unknown", "<pad>"}
    rows, matrix = find_vectors(options.vectors, words, text, options)
    assert {word: matrix[row].tolist() for word, row in rows.items()} == expected


def test_vectors_of_no_word_are_refused(make, tmp_path):
    options, text = make(vectors=vectors(tmp_path / "vectors.txt", ROWS))
    with pytest.raises(InputError, match="vectors.txt has no vector for any word of the texts"):
        find_vectors(options.vectors, {"wälder"}, text, options)
