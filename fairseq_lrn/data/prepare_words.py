"""The words of labelled texts as fairseq reads them: dictionaries, vectors, words, characters."""

import itertools
import logging
import os
from collections import Counter
from functools import partial
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import torch
from fairseq.data import Dictionary, indexed_dataset

from fairseq_lrn.data import bpe
from fairseq_lrn.data.labelled_options import LabelledOptions
from fairseq_lrn.data.labelled_text import MOSES, PUNCTUATION, LabelledText, character_indices
from fairseq_lrn.data.symbols import SPECIAL
from fairseq_lrn.data.text_files import SENTENCEPIECE_MODEL, VECTORS
from fairseq_lrn.data.tokenization import Tokenizer
from fairseq_lrn.data.workers import worker_pool
from fairseq_lrn.errors import InputError
from fairseq_lrn.word_vectors import read_word_vectors, write_word_vectors

logger = logging.getLogger(__name__)

# The texts on each side of all examples: words with single spaces between them.
Sides = Sequence[Sequence[str]]


def learn_bpe(working: str, texts: Sequence[List[str]], options: LabelledOptions) -> None:
    """Learn the BPE on the training texts.

    Args:
        working: directory of the prepared data.
        texts: the training texts on each side.
        options: options of the data.
    """
    lines = map(Tokenizer(None, options.lowercase), itertools.chain(*texts))
    bpe.learn_bpe(os.path.join(working, SENTENCEPIECE_MODEL), [lines], options.vocab_size)


def tokenize(text: LabelledText, texts: Mapping[str, Sides], workers: int) -> Dict[str, Sides]:
    """Split all texts into words, with single spaces between them.

    Args:
        text: makes words.
        texts: for each split the raw texts on each side.
        workers: number of processes.
    """
    # The other tokenisers take less time than sending the lines to other processes.
    with worker_pool(workers if text.tokenizer in (MOSES, PUNCTUATION) else 1) as pool:
        return {
            split: [list(pool.map(partial(_spaced, text), side, chunksize=100)) for side in sides]
            for split, sides in texts.items()
        }


def _spaced(text: LabelledText, line: str) -> str:
    """The words of a text with spaces between them; a string takes less memory than a list."""
    return " ".join(text.words(line))


def count_words(lines: Iterable[str], text: LabelledText) -> "Counter[str]":
    """How often each word occurs, in the form that it has in the dictionary.

    Args:
        lines: words with single spaces between them.
        text: says what that form is.
    """
    counts: Counter[str] = Counter()
    for word, count in Counter(word for line in lines for word in line.split()).items():
        counts[text.lookup(word)] += count
    return counts


def _count_characters(lines: Iterable[str]) -> "Counter[str]":
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    del counts[" "]
    return counts


def write_words(
    working: str, words: Dict[str, Sides], text: LabelledText, options: LabelledOptions
) -> None:
    """Write the dictionaries, the vectors, and the words and characters of all texts.

    Args:
        working: directory of the prepared data.
        words: for each split the texts on each side.
        text: says which form words have in the dictionary.
        options: options of the data.

    Raises:
        InputError: the vectors cannot be read, or have none of the words.
    """
    counts = {split: count_words(itertools.chain(*sides), text) for split, sides in words.items()}
    dictionary, covered = _choose_words(working, counts, text, options)
    characters: Optional[Dictionary] = None
    if options.characters:
        characters = make_dictionary(_count_characters(itertools.chain(*words["train"])))
        characters.save(os.path.join(working, "characters", "dict.txt"))
    for side, _ in enumerate(words["train"]):
        dictionary.save(os.path.join(working, f"input{side}", "dict.txt"))
    for split, sides in words.items():
        for side, lines in enumerate(sides):
            path = os.path.join(working, f"input{side}", split)
            indices = (text.indices(line.split(), dictionary) for line in lines)
            write_sequences(path, indices, len(dictionary))
            if characters is not None:
                path = os.path.join(working, f"characters{side}", split)
                indices = (character_indices(line.split(), characters) for line in lines)
                write_sequences(path, indices, len(characters))
    _report(counts, dictionary, covered)


def _choose_words(
    working: str, counts: Dict[str, "Counter[str]"], text: LabelledText, options: LabelledOptions
) -> Tuple[Dictionary, int]:
    """The dictionary, and how many of its words have a vector; their vectors are written."""
    vocabulary = {
        word: count for word, count in counts["train"].items() if count >= options.threshold
    }
    if options.vectors is None:
        if not vocabulary:
            raise InputError(
                f"no word occurs {options.threshold} times in {options.trainpref}: lower "
                "--threshold"
            )
        return make_dictionary(vocabulary), 0
    rows, matrix = find_vectors(options.vectors, set().union(*counts.values()), text, options)
    dictionary = make_dictionary({**vocabulary, **{word: counts["train"][word] for word in rows}})
    covered = [word for word in dictionary.symbols if word in rows]
    matrix = matrix[[rows[word] for word in covered]]
    write_word_vectors(os.path.join(working, VECTORS), covered, matrix)
    return dictionary, len(covered)


def find_vectors(
    path: str, words: Set[str], text: LabelledText, options: LabelledOptions
) -> Tuple[Dict[str, int], np.ndarray]:
    """The vectors of words; a word without one gets that of its lower-cased form.

    Args:
        path: file of word vectors.
        words: the words of all texts, in the form that they have in the dictionary.
        text: says what that form is.
        options: with ``all_vectors``, the other words of the file are added.

    Returns:
        for each word that has a vector its row, and the matrix of all vectors.

    Raises:
        InputError: the file cannot be read, or has no vector for any of the words.
    """
    wanted = None if options.all_vectors else words | {word.lower() for word in words}
    found, matrix = read_word_vectors(path, wanted)
    numbers = {word: number for number, word in enumerate(found)}
    forms = {word: word if word in numbers else word.lower() for word in words - SPECIAL}
    rows = {word: numbers[form] for word, form in forms.items() if form in numbers}
    if not rows:
        raise InputError(
            f"{path} has no vector for any word of the texts: give vectors of their language, or "
            "add --lowercase if only the case differs"
        )
    if options.all_vectors:  # but not words that no text can ask for
        for word, number in numbers.items():
            if word not in SPECIAL and word.split() == [word] and text.lookup(word) == word:
                rows.setdefault(word, number)
    return rows, matrix


def make_dictionary(counts: Mapping[str, int]) -> Dictionary:
    """A dictionary of symbols, the most frequent ones first, without special symbols.

    Args:
        counts: how often each symbol occurs.
    """
    dictionary = Dictionary()
    for symbol, count in counts.items():
        if symbol not in SPECIAL:
            dictionary.add_symbol(symbol, count)
    dictionary.finalize(padding_factor=1)
    return dictionary


def write_sequences(path: str, sequences: Iterable[torch.Tensor], size: int) -> None:
    """Write numbers in fairseq's binary format; directories are created.

    Args:
        path: name of the files, without suffix.
        sequences: the numbers, each below *size*.
        size: size of the dictionary.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    builder = indexed_dataset.make_builder(f"{path}.bin", "mmap", size)
    for sequence in sequences:
        builder.add_item(sequence)
    builder.finalize(f"{path}.idx")


def read_sequences(directory: str, name: str, split: str) -> indexed_dataset.MMapIndexedDataset:
    """What :func:`write_sequences` wrote for a split.

    Args:
        directory: directory of the prepared data.
        name: what it is, e.g. ``input0``.
        split: name of the split.
    """
    return indexed_dataset.make_dataset(os.path.join(directory, name, split), "mmap")


def read_sizes(directory: str, name: str, split: str) -> np.ndarray:
    """The lengths of what :func:`write_sequences` wrote for a split; see :func:`read_sequences`."""
    dataset = read_sequences(directory, name, split)
    return np.array(dataset.sizes)  # a copy: the dataset unmaps its file when it goes


def has_characters(directory: str, side: int, split: str) -> bool:
    """Whether each word of a split, as written, has its characters.

    Args:
        directory: directory of the prepared data.
        side: 0 for the first texts, 1 for the second ones.
        split: name of the split.
    """
    end = Dictionary().eos()
    texts = read_sequences(directory, f"characters{side}", split)
    ends = [int(texts[index].eq(end).sum()) for index in range(len(texts))]
    return np.array_equal(ends, read_sizes(directory, f"input{side}", split) - 1)


def _report(counts: Dict[str, "Counter[str]"], dictionary: Dictionary, covered: int) -> None:
    """Log the numbers of words.

    Args:
        counts: how often each word occurs in each split.
        dictionary: dictionary of the words.
        covered: how many of its words have a vector.
    """
    known = set(dictionary.symbols[dictionary.nspecial :])
    vectors = f", {covered} of them with a vector" if covered else ""
    logger.info("dictionary: %d words%s", len(known), vectors)
    for split, words in counts.items():
        total = sum(words.values())
        # As in LabelledText.indices, a word may be known in lower case.
        unknown = sum(
            count for word, count in words.items() if known.isdisjoint((word, word.lower()))
        )
        logger.info("%s: %d words, %.2f%% of them unknown", split, total, 100 * unknown / total)
