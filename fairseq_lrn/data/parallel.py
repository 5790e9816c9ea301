"""Reading and writing line-aligned text without ever losing the alignment."""

import os
from typing import Iterable, Iterator, List, Tuple

from fairseq_lrn.errors import InputError, cannot_read
from fairseq_lrn.files import atomic_write


def read_lines(path: str) -> List[str]:
    """The lines of a UTF-8 file, with single spaces between words and without line ends.

    Only a line feed ends a line. Other characters that end a line in Unicode, and carriage returns,
    become spaces, so the number of lines is the one that ``wc -l`` counts.

    Raises:
        InputError: the file is missing, is empty, or is not UTF-8.
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
        raise not_utf8(path, content.count(b"\n", 0, error.start) + 1) from error
    lines = text.removesuffix("\n").split("\n")
    return [" ".join(line.split()) for line in lines]


def text_lines(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file as they are, without line feeds.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    number = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                yield line.decode("utf-8" if number else "utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise not_utf8(path, number + 1) from error
    except OSError as error:
        raise cannot_read(path, error) from error


def not_utf8(name: str, line: int) -> InputError:
    """The error for text that is not UTF-8.

    Args:
        name: name of the file.
        line: number of the first such line, from 1.
    """
    return InputError(
        f"{name} is not UTF-8 (line {line}): convert it, e.g. from Latin-1 with "
        "iconv -f ISO-8859-1 -t UTF-8"
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
