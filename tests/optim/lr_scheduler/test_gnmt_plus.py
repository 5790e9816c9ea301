"""The schedule ``gnmt_plus``, against recorded numbers and at its landmarks."""

import json

import numpy as np
import pytest
from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY

from fairseq_lrn.optim import GNMTPlusSchedule
from fairseq_lrn.optim.lr_scheduler.gnmt_plus import GNMTPlusConfig
from parity import DATA


@pytest.fixture
def schedule(optimizer):
    return lambda lr, **options: GNMTPlusSchedule(GNMTPlusConfig(lr=[lr], **options), optimizer())


def test_is_registered():
    assert LR_SCHEDULER_REGISTRY["gnmt_plus"] is GNMTPlusSchedule


def test_against_the_authors_numbers(schedule):
    record = json.loads((DATA / "misc" / "lr_schedules.json").read_text())
    options = record["hyperparameters"]["0_gnmt+"]
    gnmt_plus = schedule(
        options["lrate"],
        warmup_updates=options["warmup_steps"],
        nstable=options["nstable"],
        lr_decay_start=options["lrdecay_start"],
        lr_decay_end=options["lrdecay_end"],
    )
    with np.load(DATA / "misc" / "lr_schedules.npz") as arrays:
        steps, expected = arrays["0_gnmt+/steps"], arrays["0_gnmt+/lr"]
    assert len(steps) > 10
    for step, lr in zip(steps.tolist(), expected.tolist()):
        assert gnmt_plus.step_update(step) == pytest.approx(lr, rel=1e-5)


def test_landmarks(schedule):
    """Start and end of the warm-up, end of the plateau, end of the decay, and long after it."""
    gnmt_plus = schedule(
        1e-3, warmup_updates=100, nstable=4, lr_decay_start=4000, lr_decay_end=8000
    )
    assert gnmt_plus.optimizer.get_lr() == 1e-3  # for the first update
    for updates, lr in ((0, 1e-3), (400, 4e-3), (1000, 4e-3), (2000, 5e-4)):
        assert gnmt_plus.step_update(updates) == pytest.approx(lr)
        assert gnmt_plus.step(1) == pytest.approx(lr)
    assert gnmt_plus.step_update(10**7) == pytest.approx(0.0)


def test_learning_rate_is_at_most_1(schedule):
    assert schedule(0.7).step_update(10**4) == 1.0


def test_a_single_learning_rate(optimizer):
    with pytest.raises(ValueError, match="takes one --lr"):
        GNMTPlusSchedule(GNMTPlusConfig(lr=[1e-3, 1e-4]), optimizer())
