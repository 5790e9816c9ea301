"""Reading and writing line-aligned text without ever losing the alignment."""

import codecs
import os
from typing import Iterable, Iterator, List, Tuple

from fairseq_lrn.errors import InputError, cannot_read
from fairseq_lrn.files import atomic_write

# The first bytes of files that are not in an 8-bit encoding, what they are, and the remedy.
BEGINNINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32", "convert it with iconv -f UTF-32 -t UTF-8"),  # before UTF-16
    (codecs.BOM_UTF16_LE, "UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"),
    (codecs.BOM_UTF16_BE, "UTF-16", "convert it with iconv -f UTF-16 -t UTF-8"),
    (b"\x1f\x8b", "compressed with gzip", "decompress it first, e.g. with gunzip"),
)


def read_lines(path: str) -> List[str]:
    """The lines of a UTF-8 file, with single spaces between words and without line ends.

    Only a line feed ends a line. Other characters that end a line in Unicode, and carriage returns,
    become spaces, so the number of lines is the one that ``wc -l`` counts.

    Raises:
        InputError: the file is missing, is empty, is not UTF-8, or has no line ends but carriage
            returns.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise cannot_read(path, error) from error
    if not content.strip():
        raise InputError(f"{path} is empty: give a file with one sentence on each line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, content.count(b"\n", 0, error.start) + 1, error) from error
    check_line_ends(path, content)
    lines = text.removesuffix("\n").split("\n")
    return [" ".join(line.split()) for line in lines]


def text_lines(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file as they are, without line feeds.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has no line ends but carriage returns.
    """
    number = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                text = line.decode("utf-8" if number else "utf-8-sig")
                if number == 0:
                    check_line_ends(path, line)
                yield text.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise not_utf8(path, number + 1, error) from error
    except OSError as error:
        raise cannot_read(path, error) from error


def not_utf8(name: str, line: int, error: UnicodeDecodeError) -> InputError:
    """The error for text that is not UTF-8.

    Args:
        name: name of the file.
        line: number of the first such line, from 1.
        error: what decoding raised, of the whole file or of this line.
    """
    for beginning, kind, remedy in BEGINNINGS:
        if line == 1 and error.object.startswith(beginning):
            return InputError(f"{name} is {kind}, not UTF-8: {remedy}")
    return InputError(
        f"{name} is not UTF-8 (line {line}): convert it, e.g. from Latin-1 with "
        "iconv -f ISO-8859-1 -t UTF-8"
    )


def check_line_ends(name: str, content: bytes) -> None:
    """Refuse text of several lines that would be one, because only a line feed ends a line.

    Args:
        name: name of the file.
        content: the file, or its first line.

    Raises:
        InputError: there are carriage returns between words, but there is no line feed.
    """
    if b"\n" not in content and b"\r" in content.strip():
        raise InputError(
            f"{name} has lines that end with a carriage return only, as on old Macs: convert it, "
            "e.g. with tr '\\r' '\\n'"
        )


def read_pair(prefix: str, source_lang: str, target_lang: str) -> Tuple[List[str], List[str]]:
    """The lines of ``PREFIX.source_lang`` and of ``PREFIX.target_lang``.

    Raises:
        InputError: a file cannot be read, or the two files have different numbers of lines.
    """
    paths = [f"{prefix}.{lang}" for lang in (source_lang, target_lang)]
    source, target = (read_lines(path) for path in paths)
    if len(source) != len(target):
        raise InputError(
            f"{paths[0]} has {len(source)} lines, but {paths[1]} has {len(target)}: "
            "line n of one must be the translation of line n of the other"
        )
    return source, target


def write_lines(path: str, lines: Iterable[str]) -> None:
    """Write lines as UTF-8, each with a line feed at its end; directories are created.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    with atomic_write(path) as file:
        file.writelines(f"{line}\n".encode() for line in lines)
