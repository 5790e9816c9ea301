"""Reading and writing line-aligned text without ever losing the alignment."""

import os
from typing import Iterable, List, Tuple

from fairseq_lrn.errors import InputError


def read_lines(path: str) -> List[str]:
    """Lines of a UTF-8 file, without their ends.

    Lines end at a line feed only: other characters that Unicode counts as line ends (and
    carriage returns) stay inside the line as spaces, so that the count is that of ``wc -l``.

    Raises:
        InputError: the file is missing, empty, or not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.strip():
        raise InputError(f"{path} is empty: give a file with one sentence on each line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8 (line {line}): convert it, e.g. with iconv -t UTF-8"
        ) from error
    lines = text.removesuffix("\n").split("\n")
    return [" ".join(line.split()) for line in lines]


def read_pair(prefix: str, source_lang: str, target_lang: str) -> Tuple[List[str], List[str]]:
    """Lines of ``prefix.source_lang`` and ``prefix.target_lang``.

    Raises:
        InputError: a file cannot be used, or they differ in their number of lines.
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
    """Write lines as UTF-8, each ended by a line feed."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
