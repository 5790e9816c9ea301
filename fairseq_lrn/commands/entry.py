"""The start and the end that all commands of this project share.

A command is a module with ``HELP`` (one line), a docstring (the description),
``add_arguments(parser)`` and ``main(args)``.
"""

import argparse
import contextlib
import io
import logging
import os
import sys
from types import ModuleType
from typing import Any, Callable

from fairseq_lrn.errors import InputError

INTERRUPTED = 130  # 128 + SIGINT
READER_ENDED = 141  # 128 + SIGPIPE


def build_parser(
    command: ModuleType, make: Callable[..., argparse.ArgumentParser], *names: str, **options: str
) -> argparse.ArgumentParser:
    """The parser of a command.

    Args:
        command: module of the command.
        make: ``argparse.ArgumentParser``, or the method that adds a parser to subparsers.
        names, options: further arguments of *make*.
    """
    parser = make(
        *names,
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    command.add_arguments(parser)
    return parser


def run(main: Callable[[], None]) -> None:
    """Run a command. If it fails, print a message and exit.

    The exit status is 2 if the command refuses its input or cannot read or write, and as for other
    programs 130 after Ctrl-C, and 141, without a message, if the reader of its output ends.

    Args:
        main: runs the command.
    """
    _repair_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        main()
    except (InputError, OSError, KeyboardInterrupt) as error:
        _end(_report(error))
    except SystemExit as error:
        _end(error.code)
        raise
    else:
        _end(None)


def _repair_streams() -> None:
    """Make the standard streams fail where Python would do something worse.

    If standard output is closed, Python ignores what is printed, and the next file that is opened
    gets its number. A file in the wrong mode fails when it is used, as in the C library.
    """
    for name, mode, flags in (
        ("stdin", "r", os.O_WRONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),  # the messages are lost, but the command does its work
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")


def output_failed(error: OSError) -> InputError:
    """The error for standard output that cannot be written, e.g. because the disk is full."""
    return InputError(f"cannot write standard output: {error.strerror or error}")


def _report(error: BaseException) -> int:
    """Print why a command failed, and return its exit status."""
    if isinstance(error, BrokenPipeError):
        return READER_ENDED
    message = "interrupted" if isinstance(error, KeyboardInterrupt) else f"error: {error}"
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 2


def _end(status: Any) -> None:
    """Flush standard output, and exit with *status* unless it is None and all is written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Otherwise the interpreter would try again and print this error at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not status:
            is_reader = isinstance(error, BrokenPipeError)
            status = _report(error if is_reader else output_failed(error))
    if status is not None:
        sys.exit(status)
