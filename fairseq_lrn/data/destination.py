"""The directory of prepared data: its name, and making it as a whole or not at all."""

import contextlib
import fcntl
import logging
import os
import shutil
from typing import IO, Iterator, Optional

from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)

LOCK = "lock"  # a file that is locked while the data are prepared


@contextlib.contextmanager
def new_directory(destdir: str) -> Iterator[str]:
    """A temporary directory that becomes *destdir* if the context ends without an error.

    What a process that was killed has left in it is removed.

    Raises:
        InputError: it cannot be written, or another process prepares the same data.
    """
    # With the current directory before it, no command takes "-x" for an option.
    destdir = os.path.normpath(destdir)
    working = os.path.join(os.curdir, destdir + ".incomplete")
    try:
        os.makedirs(working, exist_ok=True)
        with open(os.path.join(working, LOCK), "w") as lock:
            _lock(lock, destdir)
            try:
                for entry in os.scandir(working):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    elif entry.name != LOCK:
                        os.remove(entry.path)
                yield working
            except BaseException:
                shutil.rmtree(working, ignore_errors=True)
                raise
            try:
                os.rename(working, destdir)
            except OSError as error:
                raise InputError(
                    f"cannot rename {working} to {destdir} ({error.strerror}): the data are "
                    "complete, rename the directory"
                ) from error
            os.remove(os.path.join(destdir, LOCK))
    except OSError as error:
        raise InputError(f"cannot write {working}: {error.strerror or error}") from error


def _lock(file: IO[str], destdir: str) -> None:
    """Keep other processes from preparing the same data, until *file* is closed.

    Raises:
        InputError: another process prepares them.
    """
    try:
        # Workers, which may outlive a process that is killed, do not inherit such a lock.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise InputError(
            f"another process prepares {destdir}: wait until it is done, or choose another "
            "--destdir"
        ) from error


def check_names(**names: Optional[str]) -> None:
    """Refuse names of files that are empty, as those of a variable that is not set.

    A warning says if a training set has no validation set.

    Args:
        names: name of a file or prefix of names, or None, for each option.

    Raises:
        InputError: names the option.
    """
    for option, name in names.items():
        if name == "":
            raise InputError(f"--{option} has an empty name: give a file, or leave the option out")
    if names.get("trainpref") is not None and names.get("validpref", "") is None:
        logger.warning(
            "there is no validation set, which fairseq-train reads: give --validpref, or train "
            "with --disable-validation"
        )


def check_destdir(destdir: str) -> None:
    """Check that data can be made in a directory of this name, and that fairseq can read them.

    Raises:
        InputError: the directory exists, or its name has characters that separate names.
    """
    if not destdir:
        raise InputError("--destdir has an empty name: give a directory to make")
    if os.path.lexists(os.path.normpath(destdir)):
        raise InputError(f"{destdir} exists already: remove it or choose another --destdir")
    for name, character in (("comma", ","), ("colon", ":")):
        if character in destdir:
            raise InputError(
                f"--destdir {destdir} has a {name}, which separates names in fairseq: "
                "choose another name"
            )
    try:
        destdir.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"--destdir {destdir} is not UTF-8, which sentencepiece needs: choose another name"
        ) from error
