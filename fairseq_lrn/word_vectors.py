"""Files of pre-trained word vectors, in the text format of GloVe and word2vec."""

import gzip
import itertools
import zlib
from collections import Counter
from typing import IO, Container, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from fairseq_lrn.errors import InputError, cannot_read
from fairseq_lrn.files import atomic_write

GZIP = b"\x1f\x8b"
NUM_SAMPLES = 100  # lines that are looked at to find the width


def read_word_vectors(
    path: str, words: Optional[Container[str]] = None
) -> Tuple[List[str], np.ndarray]:
    """Read word vectors, plain or compressed with gzip.

    Each line has a word and the numbers of its vector, separated by single spaces. The first line
    may have the number of vectors and their width, as word2vec writes it. A word may contain
    spaces, as in GloVe 840B. Of several vectors of the same word, the first one counts.

    Args:
        path: the file.
        words: read only the vectors of these words; None: of all. The numbers of other words are
            not looked at.

    Returns:
        words in the order of the file, and their vectors, ``N x D`` in float32.

    Raises:
        InputError: the file cannot be read, or it is not in this format. The message names the
            line.
    """
    lines = _lines(path)
    sample = list(itertools.islice(lines, NUM_SAMPLES))
    if not sample:
        raise InputError(f"{path} is empty: give a file of word vectors")
    header = _header(sample)
    first = 1 if header is None else 2
    del sample[: first - 1]
    width = _width(path, first, sample, header)
    found: Dict[str, None] = {}  # a set that keeps the order
    data = bytearray()  # half the memory of a list of arrays and their matrix
    number = first - 1
    for number, line in enumerate(itertools.chain(sample, lines), first):
        word, numbers = _split(path, number, line, width)
        if word not in found and (words is None or word in words):
            found[word] = None
            data += _vector(path, number, numbers).tobytes()
    count = number - first + 1
    if header is not None and header[0] != count:
        raise InputError(
            f"{path} has {count} vectors, but its first line says {header[0]}: the file is "
            "incomplete (fetch it again), or this line is wrong (correct or remove it)"
        )
    return list(found), np.frombuffer(data, np.float32).reshape(len(found), width)


def write_word_vectors(path: str, words: Sequence[str], matrix: np.ndarray) -> None:
    """Write word vectors with a header line, so that they can be read again without a change.

    Args:
        path: the file.
        words: the words.
        matrix: their vectors, ``N x D`` in float32.

    Raises:
        InputError: the file cannot be written.
        ValueError: the number of words is not N.
    """
    if len(words) != len(matrix):
        raise ValueError(f"{len(words)} words do not fit {len(matrix)} vectors")
    with atomic_write(path) as file:
        file.write(f"{len(words)} {matrix.shape[1]}\n".encode())
        for word, vector in zip(words, matrix.astype(np.float32, copy=False)):
            file.write(f"{word} {' '.join(map(str, vector))}\n".encode())


def _lines(path: str) -> Iterator[str]:
    """The lines of a file without spaces at their ends. Only a line feed ends a line."""
    number = 0
    try:
        with open(path, "rb") as raw:  # opened once, as a pipe gives its bytes only once
            is_gzip = raw.peek(2)[:2] == GZIP
            lines: IO[bytes] = gzip.GzipFile(fileobj=raw) if is_gzip else raw  # type: ignore
            for line in lines:
                number += 1
                if b"\0" in line:
                    raise _not_text(path, number)
                # A byte-order mark at the start of the file is no part of the first word.
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \r\n")
    except UnicodeDecodeError as error:
        raise _not_text(path, number) from error
    except (OSError, EOFError, zlib.error) as error:
        place = f" after line {number}" if number > 0 else ""
        raise cannot_read(f"{path}{place}", error) from error


def _header(lines: Sequence[str]) -> Optional[Tuple[int, int]]:
    """The number and the width of the vectors, if the first line is a header."""
    fields = lines[0].split(" ")
    if len(fields) != 2 or not all(field.isdecimal() for field in fields) or int(fields[1]) == 0:
        return None
    # A vector of width 1, whose word is a number, is no header.
    if len(lines) > 1 and lines[1].count(" ") == 1 and fields[1] != "1":
        return None
    return int(fields[0]), int(fields[1])


def _width(path: str, first: int, lines: Sequence[str], header: Optional[Tuple[int, int]]) -> int:
    """The width of the vectors, from the header or else from the first lines.

    Args:
        path: the file, for messages.
        first: number of the first of the lines.
        lines: the first lines of vectors.
        header: the number and the width of the vectors, if the first line of the file says so.
    """
    widths = []
    for number, line in enumerate(lines, first):
        fields = line.split(" ")[1:]
        numbers = list(itertools.takewhile(_is_number, reversed(fields)))
        before = fields[: len(fields) - len(numbers)]
        is_aligned = len(before) > 1 and not before[-1] and _is_number(before[-2])
        if not numbers or is_aligned:  # several spaces between columns
            raise _not_a_vector(path, number)
        widths.append(len(numbers))
    if header is None:
        # Some words end in a number, too, and a line may lack a number.
        return Counter(widths).most_common(1)[0][0]
    if widths and min(widths) > header[1]:
        raise InputError(
            f"{path} has vectors of width {min(widths)}, but its first line says {header[1]}: "
            "correct or remove this line"
        )
    return header[1]


def _split(path: str, number: int, line: str, width: int) -> Tuple[str, str]:
    """The word of a line, and the numbers of its vector as text."""
    spaces = line.count(" ")
    if spaces == width:  # nearly always; much faster than to split the whole line
        word, _, numbers = line.partition(" ")
    else:
        word, *fields = line.rsplit(" ", width)
        numbers = " ".join(fields)
    if spaces < width or not word:
        raise _not_a_vector(path, number, width)
    return word, numbers


def _vector(path: str, number: int, numbers: str) -> np.ndarray:
    fields = numbers.split(" ")
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes inf
            vector = np.array(fields, dtype=np.float32)
    except ValueError as error:
        raise _not_a_vector(path, number, len(fields)) from error
    if not np.isfinite(vector).all():
        raise InputError(f"{path}, line {number}: the vector has nan or inf: remove the line")
    return vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_a_vector(path: str, number: int, width: Optional[int] = None) -> InputError:
    wanted = "numbers" if width is None else f"{width} numbers"
    return InputError(
        f"{path}, line {number}: expected a word and the {wanted} of its vector, separated by "
        "single spaces"
    )


def _not_text(path: str, number: int) -> InputError:
    return InputError(
        f"{path} is not UTF-8 (line {number}): give word vectors in text format; a binary file of "
        "word2vec has to be converted first"
    )
