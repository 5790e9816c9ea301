"""How the commands in ``scripts/`` end when something is wrong."""

import logging
import sys
from typing import Callable


class InputError(ValueError):
    """Input or options that cannot be used; the message names the culprit and the remedy."""


def failed(what: str, output: str) -> InputError:
    """The error of a command that ended badly.

    Args:
        what: that failed, with its input.
        output: all that the command printed; the last lines are shown.
    """
    lines = output.strip().splitlines()
    return InputError(f"{what} failed; it printed last:\n" + "\n".join(lines[-5:]))


def run(main: Callable[[], None]) -> None:
    """Run a command; input that it refuses ends it with the message alone and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
