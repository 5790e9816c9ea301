"""The command ``fairseq-lrn``: its subcommands are the modules of this package."""

import argparse
from importlib import import_module
from types import ModuleType
from typing import Dict, List, Optional

from fairseq_lrn import __version__
from fairseq_lrn.commands.entry import build_parser, run
from fairseq_lrn.compat import require_fairseq
from fairseq_lrn.errors import InputError

COMMANDS = (
    *("prepare", "translate", "serve", "average", "score", "plot", "convert", "export"),
    *("prepare-lm", "generate", "prepare-labelled", "classify", "tag", "answer"),
)


class Parser(argparse.ArgumentParser):
    """A parser of a command whose options may stand between the model and the files.

    ``argparse`` gives ``FILE`` in ``MODEL --output OUTPUT FILE`` to no argument.
    """

    _is_reading = False

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        """See ``argparse``."""
        rest = (argparse.REMAINDER, argparse.PARSER)  # not possible there
        if self._is_reading or any(action.nargs in rest for action in self._actions):
            return super().parse_known_args(args, namespace)
        self._is_reading = True  # the method below calls this one
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_reading = False


def load_commands() -> Dict[str, ModuleType]:
    """The modules of the subcommands, by name.

    They are not imported with this module, so that an incomplete installation gets a message and
    no traceback.

    Raises:
        InputError: a package that a subcommand needs is not installed.
    """
    try:
        require_fairseq()
        import_module("sentencepiece")  # commands import it late, when work may have been done
        return {
            name: import_module(f"fairseq_lrn.commands.{name.replace('-', '_')}")
            for name in COMMANDS
        }
    except ModuleNotFoundError as error:
        raise InputError(
            f"the module {error.name} is not installed: install the requirements of fairseq_lrn, "
            "e.g. with 'bash scripts/setup.sh' in a checkout"
        ) from error
    except ImportError as error:
        raise InputError(str(error)) from error


def build_main_parser(commands: Dict[str, ModuleType]) -> argparse.ArgumentParser:
    """The parser of ``fairseq-lrn``.

    Args:
        commands: see :func:`load_commands`.
    """
    parser = argparse.ArgumentParser(
        prog="fairseq-lrn", description="Prepare data, and use trained models."
    )
    parser.add_argument("--version", action="version", version=f"fairseq_lrn {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for name, command in commands.items():
        build_parser(command, subparsers.add_parser, name, help=command.HELP)
    return parser


def main(arguments: Optional[List[str]] = None) -> None:
    """Run a subcommand. If it fails, print a message and exit, see :func:`run`.

    Args:
        arguments: arguments of the command; by default the arguments of the process.
    """

    def parse_and_run() -> None:
        commands = load_commands()
        args = build_main_parser(commands).parse_args(arguments)
        # load_commands has found torch.
        from fairseq_lrn.ops.dispatch import SettingError
        from fairseq_lrn.ops.products import library_in_use

        try:
            library_in_use()  # a wrong value would go unnoticed where all operators are fused
            commands[args.command].main(args)
        except SettingError as error:
            raise InputError(str(error)) from error

    run(parse_and_run)
