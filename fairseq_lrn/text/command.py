"""How the commands in ``scripts/`` end when something is wrong."""

import sys
from typing import Callable

from fairseq_lrn.text.parallel import TextError


def run(main: Callable[[], None]) -> None:
    """Run a command; input it refuses ends it with the message alone and exit status 2."""
    try:
        main()
    except TextError as error:
        sys.exit(_fail(str(error)))


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
