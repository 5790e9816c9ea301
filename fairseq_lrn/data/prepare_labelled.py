"""Prepare labelled text for classifiers and taggers: words, characters, labels, word vectors.

The layout is that of fairseq's task ``sentence_prediction``, with characters beside it.
"""

import itertools
import json
import logging
import os
import signal
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import Pool
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import torch
from fairseq.data import Dictionary, indexed_dataset

from fairseq_lrn.data.labelled_files import (
    KINDS,
    SPECIAL,
    TAGS,
    LabelledFile,
    check_labels,
    label_counts,
    no_words,
    read_labelled,
)
from fairseq_lrn.data.labelled_text import (
    MOSES,
    SENTENCEPIECE,
    SPACE,
    TOKENIZERS,
    LabelledText,
    character_indices,
    word_indices,
)
from fairseq_lrn.data.languages import MOSES as MOSES_RULES
from fairseq_lrn.data.languages import policy
from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.data.prepare import (
    DEFAULT_VOCAB_SIZE,
    check_destdir,
    new_directory,
    train_bpe,
)
from fairseq_lrn.data.text_files import LABELLED_RECORD, LABELLED_VERSION, SENTENCEPIECE_MODEL
from fairseq_lrn.data.tokenization import Tokenizer
from fairseq_lrn.errors import InputError
from fairseq_lrn.word_vectors import read_word_vectors, write_word_vectors

logger = logging.getLogger(__name__)

DEFAULT_LANGUAGE = "en"
BPE_LINE = 1000  # characters; sentencepiece skips lines of more than 4192 bytes

# For each split the texts on each side: words with single spaces between them.
Words = Dict[str, List[List[str]]]


@dataclass(frozen=True)
class LabelledOptions:
    """Options of :func:`prepare_labelled`, with the names of ``fairseq-lrn prepare-labelled``.

    Attributes:
        kind: what has a label: ``text``, ``pair`` (of texts) or ``tags`` (each word).
        trainpref: file of the training data; see
            :func:`~fairseq_lrn.data.labelled_files.read_labelled` for the formats.
        destdir: directory to create.
        validpref: file of the validation data.
        testpref: file of the test data.
        tokenizer: what makes words: ``space``, ``moses``, or ``sentencepiece`` for a BPE that is
            learned on the training texts.
        language: the language of Moses's rules. None: :data:`DEFAULT_LANGUAGE`.
        vocab_size: number of subwords of the BPE. None: the default of ``fairseq-lrn prepare``.
        lowercase: lower-case words, but not their characters; subwords are lower-cased with them.
        threshold: words that occur at least this often in the training texts are in the dictionary.
        vectors: file of word vectors; words of all splits that have one are in the dictionary.
        all_vectors: all words of *vectors* are in the dictionary.
        characters: write the characters of words.
        workers: number of processes.
    """

    kind: str
    trainpref: str
    destdir: str
    validpref: Optional[str] = None
    testpref: Optional[str] = None
    tokenizer: str = SPACE
    language: Optional[str] = None
    vocab_size: Optional[int] = None
    lowercase: bool = False
    threshold: int = 1
    vectors: Optional[str] = None
    all_vectors: bool = False
    characters: bool = True
    workers: int = 1


def prepare_labelled(options: LabelledOptions) -> None:
    """Prepare labelled text in ``options.destdir``, which must not exist yet.

    The directory is made under a temporary name, and renamed when it is complete. It holds

    * ``input0/``, and ``input1/`` for pairs: the words,
    * ``label/``: the label of each text, or the tags of its words in the scheme IOBES,
    * ``characters0/`` and ``characters1/``: for each text one sequence, the characters of each word
      with ``</s>`` after each word; their dictionary is in ``characters/``,
    * ``vectors.txt``: the vectors of the words in the dictionary that have one,
    * the BPE model if there is one, and a record of the options.

    Raises:
        InputError: an option or a file cannot be used, or *destdir* exists.
    """
    check_options(options)
    if options.vectors is not None and not os.path.exists(options.vectors):
        # It is read late, after all texts.
        raise InputError(f"cannot read --vectors {options.vectors}: there is no such file")
    paths = {"train": options.trainpref, "valid": options.validpref, "test": options.testpref}
    files = {split: read_labelled(path, options.kind) for split, path in paths.items() if path}
    labels = make_dictionary(label_counts(files["train"], options.kind))
    for split in files.keys() - {"train"}:
        check_labels(files[split], labels.indices, options.trainpref)
    with new_directory(options.destdir) as working:
        _prepare_into(working, files, labels, options)


def check_options(options: LabelledOptions) -> None:
    """Check everything that needs no file except *destdir*.

    Raises:
        InputError: an option has an invalid value or conflicts with another, or *destdir* exists.
    """
    check_destdir(options.destdir)
    for name, value, choices in (
        ("kind", options.kind, KINDS),
        ("tokenizer", options.tokenizer, TOKENIZERS),
    ):
        if value not in choices:
            raise InputError(f"--{name} must be one of {', '.join(choices)}, not {value}")
    if options.kind == TAGS and options.tokenizer != SPACE:
        raise InputError(
            f"--kind tags has its words given, each with a tag: leave out --tokenizer "
            f"{options.tokenizer}"
        )
    if options.vocab_size is not None and options.tokenizer != SENTENCEPIECE:
        raise InputError(
            "--vocab-size is for subwords: leave it out, or add --tokenizer sentencepiece"
        )
    if options.vectors is not None and options.tokenizer == SENTENCEPIECE:
        raise InputError(
            "--vectors has vectors of words, not of subwords: leave it out, or choose --tokenizer "
            "space or moses"
        )
    if options.all_vectors and options.vectors is None:
        raise InputError("--all-vectors needs --vectors FILE, the file of word vectors")
    for name, number in (
        ("vocab-size", options.vocab_size),
        ("threshold", options.threshold),
        ("workers", options.workers),
    ):
        if number is not None and number < 1:
            raise InputError(f"--{name} must be at least 1, not {number}")
    moses_language(options)


def moses_language(options: LabelledOptions) -> Optional[str]:
    """The language of Moses's rules; None: they are not used, or there are none.

    Tags have one, too, because raw text for a tagger must be split into words.

    Raises:
        InputError: there are no rules, but they are needed; or a language is given in vain.
    """
    if options.tokenizer != MOSES and options.kind != TAGS:
        if options.language is not None:
            raise InputError(
                "--language chooses the rules of Moses: leave it out, or add --tokenizer moses"
            )
        return None
    language = options.language or DEFAULT_LANGUAGE
    rules = policy(language, MOSES_RULES).moses
    if rules is None and options.tokenizer == MOSES:
        raise InputError(
            f"Moses has no rules for --language {language}: choose --tokenizer space or "
            "sentencepiece"
        )
    return rules


def _prepare_into(
    working: str, files: Dict[str, LabelledFile], labels: Dictionary, options: LabelledOptions
) -> None:
    write_record(working, options)
    if options.tokenizer == SENTENCEPIECE:
        _learn_bpe(working, files["train"].texts, options)
    text = LabelledText(working)
    words = tokenize(text, files, options.workers)
    counts = {split: _count(itertools.chain(*sides), text) for split, sides in words.items()}
    dictionary, covered = _choose_words(working, counts, text, options)
    characters = None
    if options.characters:
        characters = make_dictionary(_count_characters(itertools.chain(*words["train"])))
        characters.save(os.path.join(working, "characters", "dict.txt"))
    labels.save(os.path.join(working, "label", "dict.txt"))
    for side, _ in enumerate(files["train"].texts):
        dictionary.save(os.path.join(working, f"input{side}", "dict.txt"))
    for split, file in files.items():
        path = os.path.join(working, "label", split)
        write_sequences(path, (word_indices(names, labels) for names in file.labels), labels)
        for side, lines in enumerate(words[split]):
            path = os.path.join(working, f"input{side}", split)
            indices = (
                word_indices([*map(text.lookup, line.split())], dictionary) for line in lines
            )
            write_sequences(path, indices, dictionary)
            if characters is not None:
                path = os.path.join(working, f"characters{side}", split)
                indices = (character_indices(line.split(), characters) for line in lines)
                write_sequences(path, indices, characters)
    check_sizes(working, files, options)
    _report(counts, files, dictionary, covered)


def write_record(directory: str, options: LabelledOptions) -> None:
    """Record the options and the version of the format.

    Args:
        directory: directory of the prepared data.
        options: options of the data.
    """
    record = {
        **asdict(options),
        "language": moses_language(options),
        "version": LABELLED_VERSION,
    }
    with open(os.path.join(directory, LABELLED_RECORD), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.write("\n")


def _learn_bpe(working: str, texts: Sequence[List[str]], options: LabelledOptions) -> None:
    model, path = os.path.join(working, SENTENCEPIECE_MODEL), os.path.join(working, "text")
    lines = map(Tokenizer(None, options.lowercase), itertools.chain(*texts))
    cut = partial(textwrap.wrap, width=BPE_LINE, break_on_hyphens=False)
    write_lines(path, itertools.chain.from_iterable(map(cut, lines)))
    train_bpe([path], model, options.vocab_size or DEFAULT_VOCAB_SIZE)
    os.remove(path)


def tokenize(text: LabelledText, files: Dict[str, LabelledFile], workers: int) -> Words:
    """Split all texts into words.

    Args:
        text: makes words.
        files: the files of all splits.
        workers: number of processes.

    Raises:
        InputError: a text has no words.
    """
    # On Ctrl-C this process ends the workers; their own tracebacks would say nothing.
    with Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        words = {
            split: [pool.map(partial(_spaced, text), side, 100) for side in file.texts]
            for split, file in files.items()
        }
    for split, sides in words.items():
        for side in sides:
            if "" in side:
                raise no_words(files[split].path, files[split].lines[side.index("")])
    return words


def _spaced(text: LabelledText, line: str) -> str:
    """The words of a text with spaces between them; a string takes less memory than a list."""
    return " ".join(text.words(line))


def _count(lines: Iterable[str], text: LabelledText) -> "Counter[str]":
    """How often each word occurs, in the form that it has in the dictionary."""
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


def _choose_words(
    working: str, counts: Dict[str, "Counter[str]"], text: LabelledText, options: LabelledOptions
) -> Tuple[Dictionary, int]:
    """The dictionary, and how many of its words have a vector; their vectors are written."""
    vocabulary = {
        word: count for word, count in counts["train"].items() if count >= options.threshold
    }
    if options.vectors is None:
        return make_dictionary(vocabulary), 0
    rows, matrix = find_vectors(options.vectors, set().union(*counts.values()), text, options)
    dictionary = make_dictionary({**vocabulary, **{word: counts["train"][word] for word in rows}})
    covered = [word for word in dictionary.symbols if word in rows]
    matrix = matrix[[rows[word] for word in covered]]
    write_word_vectors(os.path.join(working, "vectors.txt"), covered, matrix)
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
            if word not in SPECIAL and len(word.split()) == 1 and text.lookup(word) == word:
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


def write_sequences(path: str, sequences: Iterable[torch.Tensor], dictionary: Dictionary) -> None:
    """Write indices in fairseq's binary format; directories are created.

    Args:
        path: name of the files, without suffix.
        sequences: the indices.
        dictionary: dictionary of the indices.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    builder = indexed_dataset.make_builder(f"{path}.bin", "mmap", len(dictionary))
    for sequence in sequences:
        builder.add_item(sequence)
    builder.finalize(f"{path}.idx")


def check_sizes(directory: str, files: Dict[str, LabelledFile], options: LabelledOptions) -> None:
    """Check that the data, as written, have a label for each text or word, and its characters.

    Args:
        directory: directory of the prepared data.
        files: the files of all splits.
        options: options of the data.

    Raises:
        RuntimeError: they do not.
    """
    end = Dictionary().eos()
    for split, file in files.items():
        labels = _load(directory, "label", split)
        for side, _ in enumerate(file.texts):
            words = _load(directory, f"input{side}", split)
            lengths = words.sizes - 1
            expected = lengths if options.kind == TAGS else np.ones_like(lengths)
            is_right = len(words) == len(file.lines) and np.array_equal(labels.sizes - 1, expected)
            if options.characters:
                texts = _load(directory, f"characters{side}", split)
                ends = [int(texts[index].eq(end).sum()) for index in range(len(texts))]
                is_right = is_right and np.array_equal(ends, lengths)
            if not is_right:
                raise RuntimeError(
                    f"{directory}: words, characters and labels of {split} do not belong together"
                )


def _load(directory: str, name: str, split: str) -> indexed_dataset.MMapIndexedDataset:
    return indexed_dataset.make_dataset(os.path.join(directory, name, split), "mmap")


def _report(
    counts: Dict[str, "Counter[str]"],
    files: Dict[str, LabelledFile],
    dictionary: Dictionary,
    covered: int,
) -> None:
    """Log the sizes of the data.

    Args:
        counts: how often each word occurs in each split.
        files: the files of all splits.
        dictionary: dictionary of the words.
        covered: how many of its words have a vector.
    """
    known = set(dictionary.symbols[dictionary.nspecial :])
    vectors = f", {covered} of them with a vector" if covered else ""
    logger.info("dictionary: %d words%s", len(known), vectors)
    for split, words in counts.items():
        total = sum(words.values())
        unknown = sum(count for word, count in words.items() if word not in known)
        logger.info(
            "%s: %d %s, %d words, %.2f%% of them unknown",
            split,
            len(files[split].lines),
            "pairs of texts" if len(files[split].texts) > 1 else "texts",
            total,
            100 * unknown / total,
        )
