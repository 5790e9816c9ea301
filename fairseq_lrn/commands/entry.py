"""The start and the end that all commands of this project share.

A command is a module with ``HELP`` (one line), a docstring (the description),
``add_arguments(parser)`` and ``main(args)``.
"""

import argparse
import logging
import sys
from types import ModuleType
from typing import Callable

from fairseq_lrn.errors import InputError


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
    """Run a command. If it refuses its input, print a message and exit with status 2.

    Args:
        main: runs the command.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run_script(command: ModuleType) -> None:
    """Run a command of this package as a script, with the arguments of the command line."""
    args = build_parser(command, argparse.ArgumentParser).parse_args()
    run(lambda: command.main(args))
