"""How every command of this project starts and ends.

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
        command: its module.
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
    """Run a command. Input that it refuses ends it with the message alone and exit status 2.

    Args:
        main: the command, without arguments.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run_script(command: ModuleType) -> None:
    """Run a command of this package as a script of its own."""
    args = build_parser(command, argparse.ArgumentParser).parse_args()
    run(lambda: command.main(args))
