"""Writing files so that no reader ever sees an incomplete one."""

import contextlib
import os
from typing import IO, Iterator, Optional

from fairseq_lrn.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces *path* once it is complete and on disk.

    Args:
        path: the file to write.

    Yields:
        a binary file, open for writing.

    Raises:
        InputError: writing failed. The file that was at *path* before is unchanged.
    """
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        cause = _system_error(error) if isinstance(error, (OSError, RuntimeError)) else None
        if cause is None:
            raise
        raise InputError(
            f"cannot write {path}: {cause.strerror or cause}; earlier files are unchanged. "
            "Fix the cause, then run the command again"
        ) from error


def _system_error(error: BaseException) -> Optional[OSError]:
    """The operating system's error behind *error*; torch hides it behind one of its own."""
    cause: Optional[BaseException] = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause
