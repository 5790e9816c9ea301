"""Writing files so that no reader ever sees an incomplete one."""

import contextlib
import errno
import glob
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
from typing import IO, Iterator, Optional

from fairseq_lrn.errors import InputError

STALE = 24 * 60 * 60  # seconds since the last write to a temporary file; its process is dead

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic_write(path: str, keep_incomplete: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces *path* once it is complete and on disk.

    The new file has the permissions and, where that is possible, the owner of the earlier one. If
    *path* is a symbolic link, the file that it points to is replaced. Anything but an ordinary file
    (a device, a pipe, ``/dev/stdout``) is written directly.

    A process that is killed leaves its temporary file. Writing *path* a day later removes it.

    Args:
        path: the file to write.
        keep_incomplete: if the file stays incomplete, keep the temporary file, and log its name.

    Yields:
        a binary file, open for writing.

    Raises:
        InputError: writing failed. An ordinary file that was at *path* before is unchanged.
        BrokenPipeError: *path* is a pipe, and its reader ended.
    """
    remark = ""
    try:
        if _is_ordinary(path):
            remark = "; earlier files are unchanged"
            with _replacement(os.path.realpath(path), keep_incomplete) as file:
                yield file
        else:
            with _open_special(path) as file:
                yield file
    except (OSError, RuntimeError) as error:
        cause = _system_error(error)
        if cause is None or isinstance(cause, BrokenPipeError):
            raise
        raise InputError(
            f"cannot write {path}: {cause.strerror or cause}{remark}. "
            "Fix the cause, then run the command again"
        ) from error


def _is_ordinary(path: str) -> bool:
    """Whether *path* is an ordinary file, or may become one."""
    if not os.path.basename(path):  # "directory/"
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and _descriptor(path) is None
    except FileNotFoundError:
        return True


def _descriptor(path: str) -> Optional[int]:
    """The number of the open file that *path* stands for, as ``/dev/stdout`` does, or None."""
    while True:
        directory, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(directory) == os.path.realpath("/dev/fd"):
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(directory, os.readlink(path))


def _open_special(path: str) -> IO[bytes]:
    """Open what is not an ordinary file as it is; open files keep their position."""
    number = _descriptor(path)
    if number is not None:
        return os.fdopen(os.dup(number), "wb")
    return open(path, "wb", opener=lambda name, _: os.open(name, os.O_WRONLY))


@contextlib.contextmanager
def _replacement(target: str, keep_incomplete: bool) -> Iterator[IO[bytes]]:
    """A temporary file that replaces *target*, a path without links, at the end."""
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    file = _temporary(target, "incomplete" if keep_incomplete else "tmp")
    try:
        with file:
            if os.path.exists(target):
                _copy_permissions(target, file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            if keep_incomplete and os.path.getsize(file.name) > 0:
                logger.warning("not finished; the output so far is in %s", file.name)
            else:
                os.remove(file.name)
        raise
    _move(file.name, target)


def _temporary(target: str, suffix: str) -> IO[bytes]:
    """Create a file beside *target*, or elsewhere if only *target* itself can be written."""
    directory, name = os.path.split(target)
    _remove_stale(os.path.join(directory, name[:50]))
    name = f"{name[:50]}.{secrets.token_hex(4)}.{suffix}"
    try:
        return open(os.path.join(directory, name), "xb")
    except OSError as error:
        is_protected = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        if not is_protected or not os.path.exists(target):
            raise
        return open(os.path.join(tempfile.gettempdir(), name), "xb")


def _remove_stale(prefix: str) -> None:
    """Remove the temporary files of processes that were killed."""
    for path in glob.glob(f"{glob.escape(prefix)}.{8 * '[0-9a-f]'}.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - os.path.getmtime(path) > STALE:
                os.remove(path)


def _copy_permissions(source: str, target: str) -> None:
    owner = os.stat(source)
    # Only root may give files away, and some file systems have no permissions.
    for uid, gid in ((-1, owner.st_gid), (owner.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.chown(target, uid, gid)
    with contextlib.suppress(OSError):
        shutil.copymode(source, target)


def _move(temporary: str, target: str) -> None:
    try:
        os.replace(temporary, target)
        return
    except OSError:
        if not os.path.exists(target):
            os.remove(temporary)
            raise
    # A mounted file, or a file in a directory that cannot be written, can only be overwritten.
    try:
        shutil.copyfile(temporary, target)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; the complete file is {temporary}"
        ) from error
    os.remove(temporary)


def _system_error(error: BaseException) -> Optional[OSError]:
    """The operating system's error behind *error*; torch hides it behind one of its own."""
    cause: Optional[BaseException] = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause
