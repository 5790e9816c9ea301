"""A training run says when other processes take its cores."""

import multiprocessing
import os
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from fairseq.trainer import Trainer

from fairseq_lrn.compat import busy_cores
from fairseq_lrn.compat.busy_cores import CoreWatch, hint, patch_busy_cores, waiting_time
from fairseq_lrn.compat.patching import MARK


@pytest.fixture
def watch():
    """A watch, and what tells it the time and the waiting."""
    now = SimpleNamespace(time=100.0, waited=5.0)
    return CoreWatch(lambda: now.waited, lambda: now.time), now


def test_share(watch):
    watch, now = watch
    now.time, now.waited = 129.0, 50.0
    assert watch.share() is None  # too early
    now.time, now.waited = 140.0, 15.0
    assert watch.share() == pytest.approx(10 / 40)
    now.time, now.waited = 180.0, 15.0
    assert watch.share() == 0.0
    now.time, now.waited = 220.0, 1.0  # a thread ended
    assert watch.share() == 0.0


def test_a_system_that_does_not_tell():
    times = iter([0.0, 1000.0])
    assert CoreWatch(lambda: None, lambda: next(times)).share() is None


@pytest.mark.parametrize(
    "share, threads, is_said", [(0.5, 2, True), (0.5, 1, False), (0.1, 2, False), (None, 2, False)]
)
def test_hint(share, threads, is_said):
    message = hint(share, threads)
    assert (message is not None) == is_said
    if is_said:
        assert "the 2 threads of this training run together waited 0.5 s in each second" in message


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")
def test_time_of_waiting():
    core = min(os.sched_getaffinity(0))

    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        results = [pool.apply_async(_compete, (core,)) for _ in range(2)]
        waited = [result.get(timeout=30) for result in results]
    # Both want the same core for a second, so each waits about half of the time.
    assert min(waited) > 0.2


def _compete(core):
    os.sched_setaffinity(0, {core})
    before = waiting_time()
    spin(1.0)
    return waiting_time() - before


def test_said_once_a_training_run(monkeypatch, caplog):
    patch_busy_cores()  # applied already
    monkeypatch.setattr(busy_cores.CoreWatch, "share", lambda self: 0.9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert hasattr(Trainer.train_step, MARK)
    made = []
    monkeypatch.setattr(busy_cores, "patch", lambda owner, name, build: made.append(build))
    patch_busy_cores()
    train_step = made[0](lambda trainer, samples, raise_oom: samples)
    trainer = SimpleNamespace(cuda=False)
    assert [train_step(trainer, [number]) for number in range(3)] == [[0], [1], [2]]
    train_step(SimpleNamespace(cuda=True), [])
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if text.startswith("other processes")]) == 1
