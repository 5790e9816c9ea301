"""fairseq (0.12.2, 0.12.3) says nothing when other processes take the cores of a training run.

With several threads, each parallel region waits for its slowest thread, and torch's idle threads
spin meanwhile. One other busy process can make steps ten times as long. The patch logs a hint, once
a training run.
"""

import glob
import logging
import time
from typing import Callable, Optional

import torch

from fairseq_lrn.compat.patching import patch

logger = logging.getLogger(__name__)

INTERVAL = 30.0  # seconds
LIMIT = 0.1  # seconds that a thread waits for a core, in each second


def waiting_time() -> Optional[float]:
    """Seconds that the threads of this process could run, but had no core; None: not known.

    Source: Linux, ``Documentation/scheduler/sched-stats.rst``, "/proc/<pid>/schedstat".
    """
    nanoseconds = 0
    paths = glob.glob("/proc/self/task/*/schedstat")
    for path in paths:
        try:
            with open(path) as file:
                nanoseconds += int(file.read().split()[1])
        except (OSError, IndexError, ValueError):  # a thread that has ended
            continue
    return nanoseconds / 1e9 if paths else None


class CoreWatch:
    """Measures how long threads wait for a core.

    Args:
        waited: tells the time that threads have waited so far, in seconds, or None.
        clock: tells the time, in seconds.
    """

    def __init__(
        self,
        waited: Callable[[], Optional[float]] = waiting_time,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.waited, self.clock = waited, clock
        self.start, self.before = clock(), waited()

    def share(self) -> Optional[float]:
        """Seconds of waiting a second since the last result; None: too early, or not known."""
        now = self.clock()
        if now - self.start < INTERVAL or self.before is None:
            return None
        waited = self.waited()
        if waited is None:
            return None
        # Threads that have ended take their time with them.
        share = max(0.0, waited - self.before) / (now - self.start)
        self.start, self.before = now, waited
        return share


def hint(share: Optional[float], threads: int) -> Optional[str]:
    """What to log, or None.

    Args:
        share: see :meth:`CoreWatch.share`.
        threads: number of torch's threads.
    """
    if share is None or share < LIMIT * threads or threads < 2:
        return None
    return (
        f"other processes use the cores: the {threads} threads of this training run together "
        f"waited {share:.1f} s in each second. Steps can take many times as long as on free cores: "
        "set OMP_NUM_THREADS to the number of free cores, or OMP_WAIT_POLICY=passive"
    )


def patch_busy_cores() -> None:
    """Let fairseq's trainer log a hint when training on a CPU waits for cores."""
    from fairseq.trainer import Trainer

    def build(original):
        def train_step(self, samples, raise_oom=False):
            result = original(self, samples, raise_oom)
            if not self.cuda and not getattr(self, "_has_core_hint", False):
                _watch(self)
            return result

        return train_step

    patch(Trainer, "train_step", build)


def _watch(trainer) -> None:
    if not hasattr(trainer, "_core_watch"):
        trainer._core_watch = CoreWatch()
    message = hint(trainer._core_watch.share(), torch.get_num_threads())
    if message is not None:
        trainer._has_core_hint = True
        logger.warning(message)
