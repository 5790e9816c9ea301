"""The command ``fairseq-lrn``: its subcommands are the modules of this package."""

import argparse
from typing import List, Optional

from fairseq_lrn import __version__
from fairseq_lrn.commands import average, convert, export, plot, prepare, score, serve, translate
from fairseq_lrn.commands.entry import build_parser, run

COMMANDS = {
    "prepare": prepare,
    "translate": translate,
    "serve": serve,
    "average": average,
    "score": score,
    "plot": plot,
    "convert": convert,
    "export": export,
}


def parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    main_parser = argparse.ArgumentParser(
        prog="fairseq-lrn", description="Prepare data, and use trained models."
    )
    main_parser.add_argument("--version", action="version", version=f"fairseq_lrn {__version__}")
    subparsers = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        build_parser(command, subparsers.add_parser, name, help=command.HELP)
    return main_parser


def main(arguments: Optional[List[str]] = None) -> None:
    """Run a subcommand. Input that it refuses ends it with a message and exit status 2.

    Args:
        arguments: by default those of the command line.
    """
    args = parser().parse_args(arguments)
    run(lambda: COMMANDS[args.command].main(args))
