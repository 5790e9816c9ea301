"""Reading labelled texts: a label for each text or pair of texts, or a tag for each word."""

from collections import Counter
from dataclasses import dataclass
from typing import Collection, Iterator, List, Tuple

from fairseq_lrn.data.entities import IOB1, IOB2, IOBES, SCHEMES, scheme_fault, to_iobes
from fairseq_lrn.data.parallel import text_lines
from fairseq_lrn.data.symbols import SPECIAL
from fairseq_lrn.errors import InputError

KINDS = TEXT, PAIR, TAGS, SPANS = ("text", "pair", "tags", "spans")

SCHEME_TAGS = {
    IOB2: "B-TYPE for the first word of each entity, I-TYPE for its others, O for the rest",
    IOB1: "I-TYPE for the words of an entity, but B-TYPE for the first one after another entity of "
    "this type, O for the rest",
    IOBES: "B-TYPE, I-TYPE and E-TYPE for the first, inner and last words of an entity, S-TYPE for "
    "the only one, O for the rest",
}

DOCUMENT = "-DOCSTART-"  # the first column of the line before a document


@dataclass(frozen=True)
class LabelledFile:
    """The examples of a file.

    Attributes:
        path: the file.
        lines: for each example the number of its first line, from 1.
        labels: for each example its label, or for each of its words a tag in the scheme IOBES.
        texts: one list for each text of an example, with that text of all examples. The words of
            tagged texts have single spaces between them.
    """

    path: str
    lines: List[int]
    labels: List[List[str]]
    texts: Tuple[List[str], ...]


def read_labelled(path: str, kind: str, tag_scheme: str = IOB2) -> LabelledFile:
    """Read a file of labelled texts.

    Args:
        path: the file. ``text`` and ``pair``: lines of a label and one or two texts, separated by
            tabs. ``tags``: one word on each line, whose first column is the word and whose last
            column is its tag, separated by white space; blank lines part sentences, and lines that
            begin with ``-DOCSTART-`` are skipped.
        kind: ``text``, ``pair`` or ``tags``.
        tag_scheme: scheme of the tags; one of :data:`~fairseq_lrn.data.entities.SCHEMES`.

    Raises:
        InputError: the file cannot be read, is not UTF-8, is empty, or has another format.
    """
    examples = list(_tagged(path, tag_scheme) if kind == TAGS else _separated(path, kind))
    if not examples:
        raise InputError(f"{path} has no texts: give a file with labelled texts")
    lines, labels, texts = zip(*examples)
    return LabelledFile(path, list(lines), list(labels), tuple(map(list, zip(*texts))))


Example = Tuple[int, List[str], Tuple[str, ...]]  # number of its line, labels, texts


def _separated(path: str, kind: str) -> Iterator[Example]:
    """The examples of a file with tabs between label and texts."""
    names = ("label", "text", "text") if kind == PAIR else ("label", "text")
    for number, line in enumerate(text_lines(path), 1):
        place, fields = f"{path}, line {number}", line.split("\t")
        if not line.strip():
            raise InputError(f"{place} is empty: remove the line")
        if len(fields) != len(names):
            raise InputError(
                f"{place}: {len(fields)} field{'s' * (len(fields) > 1)} between tabs, but --kind "
                f"{kind} needs {len(names)} ({', '.join(names)}): correct the line, replace tabs "
                "in texts by spaces, or choose another --kind"
            )
        label, *texts = (" ".join(field.split()) for field in fields)
        if not label:
            raise InputError(f"{place}: the label is empty: give it one, or remove the line")
        if label in SPECIAL:
            raise InputError(
                f"{place}: {label} cannot be a label, because fairseq's dictionaries use it for "
                "something else: choose another name"
            )
        if not all(texts):
            raise no_words(path, number)
        yield number, [label], tuple(texts)


def no_words(path: str, line: int) -> InputError:
    """The error for a text without words."""
    return InputError(f"{path}, line {line}: the text has no words: remove the line")


def _tagged(path: str, scheme: str) -> Iterator[Example]:
    """The sentences of a file with a word and its tag on each line."""
    start, width = 0, 0
    words: List[str] = []
    tags: List[str] = []
    for number, line in enumerate(text_lines(path), 1):
        columns = line.split()
        if columns and columns[0] != DOCUMENT:
            width = width or len(columns)
            _check_columns(f"{path}, line {number}", len(columns), width)
            start = start if words else number
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            yield _sentence(path, start, words, tags, scheme)
            words, tags = [], []
    if words:
        yield _sentence(path, start, words, tags, scheme)


def _check_columns(place: str, found: int, width: int) -> None:
    if found == 1:
        raise InputError(
            f"{place}: one column, but --kind tags needs a word and its tag, with white space "
            "between them: add the tag"
        )
    check_width(place, found, width)


def check_width(place: str, found: int, width: int) -> None:
    """Check the number of columns of a line.

    Args:
        place: the line's file and number.
        found: number of its columns.
        width: number of columns of the lines before.

    Raises:
        InputError: the numbers differ.
    """
    if found != width:
        raise InputError(
            f"{place}: {found} columns, but the lines before have {width}: give all lines the same "
            "columns, without white space inside of one"
        )


def _sentence(path: str, start: int, words: List[str], tags: List[str], scheme: str) -> Example:
    fault = scheme_fault(tags, scheme)
    if fault is not None:
        index, reason = fault
        others = (other for other in SCHEMES if other != scheme)
        fits = [other for other in others if scheme_fault(tags, other) is None]
        remedy = f", or give --tag-scheme {fits[0]} if that is the scheme" if fits else ""
        raise InputError(
            f"{path}, line {start + index}: {reason}: give the last column tags in the scheme "
            f"{scheme} ({SCHEME_TAGS[scheme]}){remedy}"
        )
    return start, to_iobes(tags), (" ".join(words),)


def label_counts(file: LabelledFile, kind: str) -> "Counter[str]":
    """How often each label occurs in the training file.

    For each type of entity all four tags of IOBES are there, because validation data may have, for
    example, an entity of one word when training data have longer ones only.

    Raises:
        InputError: there are fewer than two labels, so there is nothing to learn.
    """
    counts = Counter(label for labels in file.labels for label in labels)
    if len(counts) < 2:
        label = next(iter(counts))
        if kind == TAGS:  # S-TYPE is another tag in the file
            kinds = "outside of entities" if label == "O" else f"entities of type {label[2:]}"
            raise InputError(
                f"{file.path}: all words are {kinds}: give a training file with other words, too"
            )
        raise InputError(
            f"{file.path}: all labels are {label}: give a training file with at least two labels"
        )
    if kind == TAGS:
        types = {label.partition("-")[2] for label in counts} - {""}
        tags = ["O", *(f"{place}-{name}" for name in types for place in "BIES")]
        counts.update({tag: 0 for tag in tags})
    return counts


def check_labels(file: LabelledFile, kind: str, known: Collection[str], training: str) -> None:
    """Check that all labels of a file occur in the training file.

    Args:
        file: validation or test data.
        kind: of both files; see :func:`read_labelled`.
        known: the labels of the training file.
        training: name of the training file.

    Raises:
        InputError: a label does not occur there.
    """
    for line, labels in zip(file.lines, file.labels):
        for index, label in enumerate(labels):
            if label not in known:
                # The file has other tags than the data: B-LOC, for example, where these have S-LOC.
                name = (
                    f"entity type {label.partition('-')[2]}" if kind == TAGS else f"label {label}"
                )
                raise InputError(
                    f"{file.path}, line {line + index}: the {name} does not occur in "
                    f"{training}, so no model can learn it: add texts with it there, or remove "
                    "this one"
                )
