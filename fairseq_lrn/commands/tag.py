"""Find named entities (or other tags) in raw text, one sentence per line.

Reads standard input unless files are given. Writes CoNLL columns: one word per line with its tag in
the scheme IOB2, separated by a tab, and an empty line after each sentence. With --json, writes one
JSON object per sentence, with the entities and their places in the text. With --columns, the input
has one word per line, too, in its first column. An empty line or the end of a file ends a sentence.
"""

import argparse
import json
import logging
import re
from itertools import chain
from typing import Any, Iterable, Iterator, List, Optional

from fairseq_lrn.commands.classify import add_labelling_arguments
from fairseq_lrn.commands.streams import (
    Line,
    blocks,
    check_stream_arguments,
    output_file,
    read_lines,
    text_of,
    with_progress,
)
from fairseq_lrn.data.labelled_files import DOCUMENT, check_width
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.tagger import Tagging, load_tagger

logger = logging.getLogger(__name__)

HELP = "find named entities in raw text"
TAG = re.compile(r"O|[BIESLU]-\S+")
CHECKED_LINES = 3  # which look like columns: a sentence may end in "O" or "B-52"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_labelling_arguments(parser)
    parser.add_argument(
        "--tokenizer",
        choices=("moses", "space"),
        help="moses: split punctuation from words; space: split at white space only "
        "(default: moses, if it knows the language of the data)",
    )
    parser.add_argument(
        "--columns",
        action="store_true",
        help="the input has a word on each line, in its first column",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object per sentence")


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: an option has an invalid value, the model or the input cannot be used, or the
            output cannot be written.
    """
    check_stream_arguments(args)
    if args.columns and args.tokenizer is not None:
        raise InputError("--columns gives the words: leave out --tokenizer")
    tagger = load_tagger(args.model, data=args.data, device=args.device)
    given: Iterable[Any] = read_lines(args.files)
    if not args.columns:
        given = warn_of_columns(given)
    else:
        given = chain.from_iterable(sentences(read_lines([name])) for name in args.files or ["-"])
    with output_file(args.output) as file:
        for first, block in with_progress(blocks(given, args.buffer_size), args):
            if args.columns:
                found = tagger.tag_words(block, batch_size=args.batch_size, progress=False)
            else:
                options = {"tokenizer": args.tokenizer, "batch_size": args.batch_size}
                found = tagger(block, first_number=first, progress=False, **options)
            for item, tagging in zip(block, found):
                text = " ".join(item) if args.columns else text_of(item)
                file.write(as_json(text, tagging) if args.json else as_columns(tagging))
            file.flush()


def warn_of_columns(lines: Iterable[Optional[Line]]) -> Iterator[Optional[Line]]:
    """The lines. A warning says if the first ones end in tags, as rows of columns do."""
    checked = 0
    for line in lines:
        if line is not None and line.strip() and checked < CHECKED_LINES:
            fields = line.split()
            is_row = len(fields) > 1 and TAG.fullmatch(fields[-1]) is not None
            checked = checked + 1 if is_row else CHECKED_LINES + 1
            if checked == CHECKED_LINES:
                logger.warning(
                    "the first %d lines end in tags, and each is read as a sentence: for words in "
                    "columns, give --columns",
                    CHECKED_LINES,
                )
        yield line


def sentences(lines: Iterable[Optional[Line]]) -> Iterator[Optional[List[str]]]:
    """The words of each sentence of a file, from lines with a word in the first column.

    A line that begins a document (``-DOCSTART-``) is left out.

    Yields:
        the words of a sentence, or None where the input pauses between sentences.

    Raises:
        InputError: a line has more or fewer columns than the lines before.
    """
    width = 0
    words: List[str] = []
    for line in lines:
        if line is None:
            if not words:
                yield None
            continue
        fields = line.split()
        if fields and fields[0] == DOCUMENT:
            fields = []
        if fields:
            width = width or len(fields)
            check_width(line.place, len(fields), width)
            words.append(fields[0])
        elif words:
            yield words
            words = []
    if words:
        yield words


def as_columns(tagging: Tagging) -> str:
    """Words and tags, one word on each line, and an empty line."""
    rows = [f"{word}\t{tag}\n" for word, tag in zip(tagging.words, tagging.tags)]
    return "".join(rows) + "\n"


def as_json(text: str, tagging: Tagging) -> str:
    """A text and its entities as JSON on one line."""
    record = {
        "text": text,
        "entities": [entity._asdict() for entity in tagging.entities],
        "words": tagging.words,
        "tags": tagging.tags,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
