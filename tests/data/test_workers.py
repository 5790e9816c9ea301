"""Processes that work on lines: order, interrupts, and one that is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fairseq_lrn.data.workers import worker_pool
from fairseq_lrn.errors import InputError


def ignores_interrupts(_):
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def process_number(_):
    return os.getpid()


def is_running(number):
    """Whether there is such a process, and it has not ended."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_own_process(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_order():
    with worker_pool(2) as pool:
        assert list(pool.map(str, range(1000), chunksize=7)) == list(map(str, range(1000)))


def test_interrupts_are_left_to_the_command():
    """Otherwise each process prints a traceback."""
    with worker_pool(2) as pool:
        assert list(pool.map(ignores_interrupts, "a")) == [True]


def test_one_process_does_the_work_itself():
    with worker_pool(1) as pool:
        assert set(pool.map(process_number, "abc", chunksize=2)) == {os.getpid()}


@pytest.mark.timeout(60)
def test_processes_end_with_a_command_that_is_killed():
    code = "import os, time\nfrom fairseq_lrn.data.workers import worker_pool\n"
    code += "with worker_pool(2) as pool:\n"
    code += "    print(*set(pool.map(pid, range(50))), flush=True)\n    time.sleep(60)"
    code = "def pid(_):\n    import os\n    return os.getpid()\n" + code
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = [int(number) for number in command.stdout.readline().split()]
    command.kill()
    command.wait()
    assert workers
    while any(map(is_running, workers)):  # until the time limit
        time.sleep(0.05)


@pytest.mark.timeout(60)
def test_a_process_that_is_killed():
    """A pool of multiprocessing would wait for its result for ever."""
    with pytest.raises(InputError, match="one of the 2 processes was killed, .*--workers"):
        with worker_pool(2) as pool:
            list(pool.map(kill_own_process, "abc"))
