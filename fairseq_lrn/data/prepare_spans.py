"""Prepare questions whose answers are parts of a text (SQuAD) for readers."""

import logging
import os
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import torch

from fairseq_lrn.data.labelled_options import LabelledOptions
from fairseq_lrn.data.labelled_text import LabelledText
from fairseq_lrn.data.prepare_words import (
    has_characters,
    read_sequences,
    read_sizes,
    tokenize,
    write_sequences,
    write_words,
)
from fairseq_lrn.data.span_files import Answer, SpanFile

logger = logging.getLogger(__name__)

INT32 = 1 << 20  # a size for which fairseq writes numbers of 32 bits

Places = List[Tuple[int, int]]  # of words: the first character, and the one after the last


def prepare_spans(working: str, files: Dict[str, SpanFile], options: LabelledOptions) -> None:
    """Prepare questions, as ``prepare_labelled`` does other texts.

    * ``input0/`` has the questions, and ``input1/`` the contexts, each one once,
    * ``label/``: of each question the index of its context, and of the first and the last word of
      the first answer,
    * ``offsets1/``: of each context, for each word, the position of its first character in the raw
      text, and the position after its last one,
    * ``squad/``: copies of the files.

    Args:
        working: directory of the prepared data.
        files: the files of all splits.
        options: options of the data.

    Raises:
        InputError: the vectors cannot be read, or have none of the words.
    """
    text = LabelledText(working)
    os.makedirs(os.path.join(working, "squad"))
    for split, file in files.items():
        places = [word_places(text, context) for context in file.contexts]
        offsets = (torch.tensor(of_words).flatten() for of_words in places)
        write_sequences(os.path.join(working, "offsets1", split), offsets, INT32)
        spans = list(answer_words(file, places))
        rows = (torch.tensor([owner, *span]) for owner, span in zip(file.owners, spans))
        write_sequences(os.path.join(working, "label", split), rows, INT32)
        with open(os.path.join(working, "squad", f"{split}.json"), "wb") as copy:
            copy.write(file.content)
        _report(split, file, places, spans)
    raw = {split: file.texts for split, file in files.items()}
    write_words(working, tokenize(text, raw, options.workers), text, options)
    check_spans(working, files, options)


def word_places(text: LabelledText, context: str) -> Places:
    """The places of the words of a context.

    Args:
        text: makes words.
        context: raw text.
    """
    return [(start, end) for _, start, end in text.words_with_offsets(context)]


def answer_words(file: SpanFile, places: Sequence[Places]) -> Iterator[Tuple[int, int]]:
    """The first and the last word of the first answer to each question.

    They are the words that overlap the answer, which may begin or end in the middle of a word.

    Args:
        file: the questions.
        places: of each context the places of its words.
    """
    for owner, answers in zip(file.owners, file.answers):
        start, end = _limits(answers[0])
        starts, ends = np.array(places[owner]).T
        # The first word that ends after the answer begins, and the last that begins before it ends.
        yield int(np.searchsorted(ends, start, "right")), int(np.searchsorted(starts, end)) - 1


def _limits(answer: Answer) -> Tuple[int, int]:
    """Where an answer begins and ends, without white space around it."""
    stripped = answer.text.strip()
    start = answer.start + answer.text.index(stripped)
    return start, start + len(stripped)


def _report(
    split: str, file: SpanFile, places: Sequence[Places], spans: Sequence[Tuple[int, int]]
) -> None:
    cut = 0
    for owner, answers, (first, last) in zip(file.owners, file.answers, spans):
        of_words = places[owner]
        cut += (of_words[first][0], of_words[last][1]) != _limits(answers[0])
    logger.info(
        "%s: %d questions, %d contexts; %d answers begin or end inside of a word",
        split,
        len(file.questions),
        len(file.contexts),
        cut,
    )


def check_spans(directory: str, files: Dict[str, SpanFile], options: LabelledOptions) -> None:
    """Check that questions, contexts, answers and places, as written, belong together.

    Args:
        directory: directory of the prepared data.
        files: the files of all splits.
        options: options of the data.

    Raises:
        RuntimeError: they do not.
    """
    for split, file in files.items():
        if not _belong_together(directory, split, file, options):
            raise RuntimeError(
                f"{directory}: words, answers and places of {split} do not belong together"
            )


def _belong_together(directory: str, split: str, file: SpanFile, options: LabelledOptions) -> bool:
    questions, contexts = (read_sizes(directory, f"input{side}", split) - 1 for side in range(2))
    if (len(questions), len(contexts)) != (len(file.questions), len(file.contexts)):
        return False
    if not np.array_equal(read_sizes(directory, "offsets1", split), 2 * contexts):
        return False
    if not np.array_equal(read_sizes(directory, "label", split), np.full(len(questions), 3)):
        return False
    labels = read_sequences(directory, "label", split)
    rows = np.array([labels[index].tolist() for index in range(len(labels))])
    owner, first, last = rows.T
    if not np.array_equal(owner, file.owners) or not (first <= last).all():
        return False
    if not (last < contexts[owner]).all():
        return False
    return not options.characters or all(has_characters(directory, n, split) for n in range(2))
