"""Prepare labelled text for classifiers, taggers and readers.

The layout is that of fairseq's task ``sentence_prediction``, with characters beside it.
"""

import logging
import os
import stat
from typing import Dict

import numpy as np

from fairseq_lrn.data.destination import new_directory
from fairseq_lrn.data.entities import IOB2
from fairseq_lrn.data.labelled_files import (
    SPANS,
    TAGS,
    LabelledFile,
    check_labels,
    label_counts,
    no_words,
    read_labelled,
)
from fairseq_lrn.data.labelled_options import LabelledOptions, check_options, write_record
from fairseq_lrn.data.labelled_text import SENTENCEPIECE, LabelledText
from fairseq_lrn.data.prepare_spans import prepare_spans
from fairseq_lrn.data.prepare_words import (
    has_characters,
    learn_bpe,
    make_dictionary,
    read_sizes,
    tokenize,
    write_sequences,
    write_words,
)
from fairseq_lrn.data.span_files import read_spans
from fairseq_lrn.data.symbols import word_indices
from fairseq_lrn.errors import cannot_read

logger = logging.getLogger(__name__)


def prepare_labelled(options: LabelledOptions) -> None:
    """Prepare labelled text in ``options.destdir``, which must not exist yet.

    The directory is made under a temporary name, and renamed when it is complete. It holds

    * ``input0/``, and ``input1/`` for pairs: the words,
    * ``label/``: the label of each text, or the tags of its words in the scheme IOBES,
    * ``characters0/`` and ``characters1/``: for each text one sequence, the characters of each word
      with ``</s>`` after each word; their dictionary is in ``characters/``,
    * ``vectors.txt``: the vectors of the words in the dictionary that have one,
    * the BPE model if there is one, and a record of the options.

    For questions, :func:`~fairseq_lrn.data.prepare_spans.prepare_spans` says what differs.

    Raises:
        InputError: an option or a file cannot be used, or *destdir* exists.
    """
    check_options(options)
    if options.vectors is not None:
        check_vectors(options.vectors)
    paths = {"train": options.trainpref, "valid": options.validpref, "test": options.testpref}
    given = {split: path for split, path in paths.items() if path is not None}
    if options.kind == SPANS:
        spans = {split: read_spans(path) for split, path in given.items()}
        with new_directory(options.destdir) as working:
            write_record(working, options)
            prepare_spans(working, spans, options)
        return
    scheme = options.tag_scheme or IOB2
    files = {split: read_labelled(path, options.kind, scheme) for split, path in given.items()}
    labels = make_dictionary(label_counts(files["train"], options.kind))
    for split in files.keys() - {"train"}:
        check_labels(files[split], options.kind, labels.indices, options.trainpref)
    with new_directory(options.destdir) as working:
        write_record(working, options)
        labels.save(os.path.join(working, "label", "dict.txt"))
        for split, file in files.items():
            path = os.path.join(working, "label", split)
            indices = (word_indices(names, labels) for names in file.labels)
            write_sequences(path, indices, len(labels))
        _prepare_texts(working, files, options)


def check_vectors(path: str) -> None:
    """Check at the start that a file of word vectors can be read: it is read late, after all texts.

    Args:
        path: the file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):  # a pipe can be opened only once
            open(path, "rb").close()
    except OSError as error:
        raise cannot_read(f"--vectors {path}", error) from error


def _prepare_texts(working: str, files: Dict[str, LabelledFile], options: LabelledOptions) -> None:
    if options.tokenizer == SENTENCEPIECE:
        learn_bpe(working, files["train"].texts, options)
    text = LabelledText(working)
    raw = {split: file.texts for split, file in files.items()}
    words = tokenize(text, raw, options.workers)
    for split, file in files.items():
        logger.info("%s: %d %s", split, len(file.lines), _name(file))
        for side in words[split]:
            if "" in side:
                raise no_words(file.path, file.lines[list(side).index("")])
    write_words(working, words, text, options)
    check_sizes(working, files, options)


def _name(file: LabelledFile) -> str:
    return "pairs of texts" if len(file.texts) > 1 else "texts"


def check_sizes(directory: str, files: Dict[str, LabelledFile], options: LabelledOptions) -> None:
    """Check that the data, as written, have a label for each text or word, and its characters.

    Args:
        directory: directory of the prepared data.
        files: the files of all splits.
        options: options of the data.

    Raises:
        RuntimeError: they do not.
    """
    for split, file in files.items():
        labels = read_sizes(directory, "label", split) - 1
        for side, _ in enumerate(file.texts):
            lengths = read_sizes(directory, f"input{side}", split) - 1
            expected = lengths if options.kind == TAGS else np.ones_like(lengths)
            if (
                len(lengths) != len(file.lines)
                or not np.array_equal(labels, expected)
                or (options.characters and not has_characters(directory, side, split))
            ):
                raise RuntimeError(
                    f"{directory}: words, characters and labels of {split} do not belong together"
                )
