"""Processes that work on the lines of a text."""

import contextlib
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Iterator

from fairseq_lrn.errors import InputError


@contextlib.contextmanager
def worker_pool(number: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, which end with the context.

    Args:
        number: number of processes.

    Raises:
        InputError: a process was killed, for example because memory ran out.
    """
    # On Ctrl-C this process ends the workers; their own tracebacks would say nothing.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(number, initializer=signal.signal, initargs=ignore)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise InputError(
            f"one of the {number} processes was killed, perhaps because memory ran out: give a "
            "lower number of --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
