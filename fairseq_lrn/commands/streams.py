"""Input and output of commands that work line by line, in files and pipes."""

import argparse
import contextlib
import io
import os
import select
import sys
from typing import IO, Any, Callable, Iterable, Iterator, List, Optional, Tuple, TypeVar

from tqdm import tqdm

from fairseq_lrn.commands.entry import output_failed
from fairseq_lrn.data.parallel import check_line_ends, not_utf8
from fairseq_lrn.errors import InputError, cannot_read
from fairseq_lrn.files import atomic_write
from fairseq_lrn.options import check_minimum

CHUNK = 1 << 16  # bytes that are read at once
BUFFER_SIZE = 512  # lines
PAUSE = 0.1  # seconds without input, after which the lines so far are processed

Item = TypeVar("Item")


class Line(str):
    """A line of an input file.

    Attributes:
        place: name of the file and number of the line, for messages.
    """

    place: str

    def __new__(cls, text: str, place: str) -> "Line":
        line = super().__new__(cls, text)
        line.place = place
        return line


def add_stream_arguments(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the input, the output, and how many lines are processed at once.

    Args:
        parser: parser of the command.
        batch_size: default number of lines in a batch.
    """
    parser.add_argument("files", nargs="*", default=[], metavar="FILE", help="raw text in UTF-8")
    parser.add_argument("--output", metavar="FILE", help="file to write (default: standard output)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=batch_size,
        metavar="N",
        help="lines per batch (default: %(default)s)",
    )
    parser.add_argument(
        "--buffer-size",
        type=int,
        metavar="N",
        help="number of lines to read before they are processed; fewer if the input pauses "
        f"(default: {BUFFER_SIZE})",
    )


def check_stream_arguments(args: argparse.Namespace) -> None:
    """Refuse a buffer without lines, and an output that would replace an input. Sets the defaults.

    Raises:
        InputError: names the option.
    """
    if args.buffer_size is None:
        args.buffer_size = BUFFER_SIZE
    check_minimum(1, buffer_size=args.buffer_size)
    if args.output is None or not os.path.isfile(args.output):
        return
    for name in args.files:
        if os.path.exists(name) and os.path.samefile(name, args.output):
            raise InputError(f"--output {args.output} would replace the input: give another name")


def blocks(
    lines: Iterable[Optional[Item]], size: int, parse: Optional[Callable[[Any], Any]] = None
) -> Iterator[Tuple[int, List[Any]]]:
    """Group lines in blocks of *size*, which end early where the input pauses or fails.

    Args:
        lines: result of :func:`read_lines`.
        size: number of lines in a block.
        parse: what to make of a line. If it raises an InputError, the lines before are a block.

    Yields:
        the number of the first line, from 1, and the block.
    """
    first, block = 1, []
    try:
        for line in lines:
            if line is not None:
                block.append(line if parse is None else parse(line))
            if len(block) == size or (line is None and block):
                yield first, block
                first, block = first + len(block), []
    except InputError:
        if block:
            yield first, block
        raise
    if block:
        yield first, block


def with_progress(
    numbered: Iterable[Tuple[int, List[Any]]], args: argparse.Namespace
) -> Iterator[Tuple[int, List[Any]]]:
    """The same blocks; on a terminal, a bar counts the lines that are done.

    There is no bar on a terminal to which lines are written or from which they are read.

    Args:
        numbered: result of :func:`blocks`.
        args: arguments of the command, see :func:`add_stream_arguments`.
    """
    is_input_typed = not args.files and sys.stdin.isatty()
    is_output_shown = args.output is None and sys.stdout.isatty()
    # With disable=None, tqdm shows the bar on a terminal only.
    disable = True if is_input_typed or is_output_shown else None
    with tqdm(unit=" lines", disable=disable) as bar:
        for first, block in numbered:
            yield first, block
            bar.update(len(block))


def text_of(line: str) -> str:
    """The text of a line without a carriage return at its end, as lines of Windows have one."""
    return line.removesuffix("\r")


def two_texts(line: Line, names: str, reason: str) -> Tuple[str, str]:
    """The two texts on a line, which have a tab between them.

    Args:
        line: the line.
        names: what the texts are, for the message.
        reason: why there must be two, for the message.

    Raises:
        InputError: the line does not have exactly one tab.
    """
    texts = text_of(line).split("\t")
    if len(texts) != 2:
        raise InputError(
            f"{line.place} must have {names} separated by a tab, because {reason}; it has "
            f"{len(texts)}"
        )
    return texts[0], texts[1]


def read_lines(files: List[str]) -> Iterator[Optional[Line]]:
    """The lines of the files, or of standard input. Only a line feed ends a line.

    Args:
        files: names of files; ``-`` or an empty list is standard input.

    Yields:
        a line without its line feed, or None if the next line has not arrived yet.

    Raises:
        InputError: a file cannot be read, is not UTF-8, or has no line ends but carriage returns.
    """
    for name in files or ["-"]:
        is_stdin = name == "-"
        label = "standard input" if is_stdin else name
        number = 0
        try:
            source = sys.stdin.fileno() if is_stdin else name
            with open(source, "rb", buffering=0, closefd=not is_stdin) as file:
                for line in split_lines(file):
                    if line is None:
                        yield None
                        continue
                    text = line.decode("utf-8" if number else "utf-8-sig")
                    if number == 0:
                        check_line_ends(label, line)
                    number += 1
                    yield Line(text.removesuffix("\n"), f"{label}, line {number}")
        except UnicodeDecodeError as error:
            raise not_utf8(label, number + 1, error) from error
        except OSError as error:
            raise cannot_read(label, error) from error


def read_stdin() -> bytes:
    """All of standard input.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if sys.stdin is None:  # the process was started without it
            raise ValueError("it is closed")
        return sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        raise cannot_read("standard input", error) from error


def split_lines(file: io.RawIOBase) -> Iterator[Optional[bytes]]:
    """The lines of an unbuffered file with their line feeds, and None where input pauses."""
    rest = bytearray()  # of a line that is not complete yet
    while True:
        if not select.select([file], [], [], PAUSE)[0]:
            yield None
            select.select([file], [], [])
        chunk = file.read(CHUNK)
        if chunk is None:  # a file in non-blocking mode
            continue
        if not chunk:
            break
        rest += chunk
        if b"\n" in chunk:
            lines, _, rest = rest.rpartition(b"\n")
            yield from (line + b"\n" for line in bytes(lines).split(b"\n"))
    if rest:
        yield bytes(rest)


@contextlib.contextmanager
def output_file(path: Optional[str]) -> Iterator[IO[str]]:
    """Standard output, or the file *path*, which gets its name when it is complete.

    Raises:
        InputError: it cannot be written.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        try:
            yield sys.stdout
        except BrokenPipeError:
            raise
        except OSError as error:
            raise output_failed(error) from error
        return
    with atomic_write(path, keep_incomplete=True) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8")
        try:
            yield file
        finally:
            file.detach()  # which flushes it; atomic_write closes the binary file
