"""Processes that work on lines: order, interrupts, and one that is killed."""

import os
import signal

import pytest

from fairseq_lrn.data.workers import worker_pool
from fairseq_lrn.errors import InputError


def ignores_interrupts(_):
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def kill_own_process(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_order():
    with worker_pool(2) as pool:
        assert list(pool.map(str, range(1000), chunksize=7)) == list(map(str, range(1000)))


def test_interrupts_are_left_to_the_command():
    """Otherwise each process prints a traceback."""
    with worker_pool(1) as pool:
        assert list(pool.map(ignores_interrupts, "a")) == [True]


@pytest.mark.timeout(60)
def test_a_process_that_is_killed():
    """A pool of multiprocessing would wait for its result for ever."""
    with pytest.raises(InputError, match="one of the 2 processes was killed, .*--workers"):
        with worker_pool(2) as pool:
            list(pool.map(kill_own_process, "abc"))
