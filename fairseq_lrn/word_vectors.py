"""Files of pre-trained word vectors, in the text format of GloVe and word2vec."""

import gzip
import itertools
from collections import Counter
from typing import IO, Container, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from fairseq_lrn.errors import InputError
from fairseq_lrn.files import atomic_write

GZIP = b"\x1f\x8b"
NUM_SAMPLES = 100  # lines that are looked at to find the width


def read_word_vectors(
    path: str, words: Optional[Container[str]] = None, width: Optional[int] = None
) -> Tuple[List[str], np.ndarray]:
    """Read word vectors, plain or compressed with gzip.

    Each line has a word and the numbers of its vector, separated by single spaces. The first line
    may have the number of vectors and their width, as word2vec writes it. A word may contain
    spaces, as in GloVe 840B. Of several vectors of the same word, the first one counts.

    Args:
        path: the file.
        words: read only the vectors of these words; None: of all.
        width: width D that the vectors must have; None: any.

    Returns:
        words in the order of the file, and their vectors, ``N x D`` in float32.

    Raises:
        InputError: the file cannot be read, it is not in this format, or its vectors have another
            width. The message names the line.
    """
    lines = _lines(path)
    sample = list(itertools.islice(lines, NUM_SAMPLES))
    if not sample:
        raise InputError(f"{path} is empty: give a file of word vectors")
    header = _header(sample)
    if header is not None:
        del sample[0]
    found_width = header[1] if header is not None else _width(path, sample)
    if width is not None and found_width != width:
        raise InputError(
            f"{path} has vectors of width {found_width}, not {width}: set the width of the "
            "embeddings to it, or give other vectors"
        )
    first = 1 if header is None else 2
    vectors = {}
    for number, line in enumerate(itertools.chain(sample, lines), first):
        word, numbers = _split(path, number, line, found_width)
        if word not in vectors and (words is None or word in words):
            vectors[word] = _vector(path, number, numbers)
    count = number - first + 1 if sample else 0
    if header is not None and header[0] != count:
        raise InputError(
            f"{path} has {count} vectors, but its first line says {header[0]}: the file is "
            "incomplete; fetch it again"
        )
    matrix = np.stack(list(vectors.values())) if vectors else np.zeros((0, found_width))
    return list(vectors), matrix.astype(np.float32)


def write_word_vectors(path: str, words: Sequence[str], vectors: np.ndarray) -> None:
    """Write word vectors with a header line, so that they can be read again without a change.

    Args:
        path: the file.
        words: the words.
        vectors: their vectors, ``N x D`` in float32.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors):
            file.write(f"{word} {' '.join(map(str, vector))}\n".encode())


def _lines(path: str) -> Iterator[str]:
    """The lines of a file without their line feeds. Only a line feed ends a line."""
    number = 0
    try:
        with open(path, "rb") as start:
            is_gzip = start.read(2) == GZIP
        opened: IO[bytes] = gzip.open(path) if is_gzip else open(path, "rb")  # type: ignore
        with opened as file:
            for number, line in enumerate(file):
                yield line.decode("utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (line {number + 1}): give word vectors in text format; a binary "
            "file of word2vec has to be converted first"
        ) from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error


def _header(lines: Sequence[str]) -> Optional[Tuple[int, int]]:
    """The number and the width of the vectors, if the first line is a header."""
    fields = lines[0].split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields):
        return None
    # A vector of width 1, whose word is a number, is no header.
    if len(lines) > 1 and len(lines[1].split()) == 2 and fields[1] != "1":
        return None
    return int(fields[0]), int(fields[1])


def _width(path: str, lines: Iterable[str]) -> int:
    """The usual number of numbers at the end of a line: some words end in numbers, too."""
    widths = []
    for number, line in enumerate(lines, 1):
        fields = line.rstrip().split(" ")[1:]
        numbers = list(itertools.takewhile(_is_number, reversed(fields)))
        if not numbers:
            raise _not_a_vector(path, number)
        widths.append(len(numbers))
    return Counter(widths).most_common(1)[0][0]


def _split(path: str, number: int, line: str, width: int) -> Tuple[str, List[str]]:
    """The word of a line, and the numbers of its vector as text."""
    fields = line.rstrip().rsplit(" ", width)
    if len(fields) != width + 1 or not fields[0]:
        raise _not_a_vector(path, number, width)
    return fields[0], fields[1:]


def _vector(path: str, number: int, numbers: Sequence[str]) -> np.ndarray:
    try:
        vector = np.array(numbers, dtype=np.float32)
    except ValueError as error:
        raise _not_a_vector(path, number, len(numbers)) from error
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
