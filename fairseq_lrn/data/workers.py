"""Processes that work on the lines of a text."""

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Iterable, Iterator

from fairseq_lrn.errors import InputError


class _Here(Executor):
    """Does the work in this process."""

    def map(
        self, fn: Callable, *iterables: Iterable[Any], timeout: Any = None, chunksize: int = 1
    ) -> Iterator[Any]:
        return map(fn, *iterables)


@contextlib.contextmanager
def worker_pool(number: int) -> Iterator[Executor]:
    """A pool of processes, which end with the context.

    Args:
        number: number of processes; with 1, this process does the work.

    Raises:
        InputError: a process was killed, for example because memory ran out.
    """
    if number == 1:
        yield _Here()
        return
    pool = ProcessPoolExecutor(number, initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise InputError(
            f"one of the {number} processes was killed, perhaps because memory ran out: give a "
            "lower number of --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # On Ctrl-C the command ends the workers; their own tracebacks would say nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the command, which may be killed, and end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
