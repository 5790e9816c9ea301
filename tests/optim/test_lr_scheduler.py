"""The learning-rate schedules gnmt_plus and inverse_sqrt_cooldown."""

import json

import numpy as np
import pytest
import torch
from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY
from fairseq.optim.lr_scheduler.inverse_square_root_schedule import (
    InverseSquareRootLRScheduleConfig,
    InverseSquareRootSchedule,
)

from fairseq_lrn.optim import GNMTPlusSchedule, InverseSqrtCooldownSchedule
from fairseq_lrn.optim.lr_scheduler import GNMTPlusConfig, InverseSqrtCooldownConfig
from parity import DATA


class Optimizer(FairseqOptimizer):
    def __init__(self):
        super().__init__(None)
        self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=99.0)


def schedule(lr, **options):
    return GNMTPlusSchedule(GNMTPlusConfig(lr=[lr], **options), Optimizer())


def test_is_registered():
    assert LR_SCHEDULER_REGISTRY["gnmt_plus"] is GNMTPlusSchedule


def test_against_the_authors_numbers():
    record = json.loads((DATA / "misc" / "lr_schedules.json").read_text())
    options = record["hyperparameters"]["0_gnmt+"]
    ours = schedule(
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
        assert ours.step_update(step) == pytest.approx(lr, rel=1e-5)


def test_landmarks():
    ours = schedule(1e-3, warmup_updates=100, nstable=4, lr_decay_start=4000, lr_decay_end=8000)
    assert ours.optimizer.get_lr() == 1e-3  # of the first update
    for updates, lr in ((0, 1e-3), (400, 4e-3), (1000, 4e-3), (2000, 5e-4)):
        assert ours.step_update(updates) == pytest.approx(lr)
        assert ours.step(1) == pytest.approx(lr)
    assert ours.step_update(10**7) == pytest.approx(0.0)
    assert schedule(0.7).step_update(10**4) == 1.0


def test_one_rate_only():
    with pytest.raises(ValueError, match="takes one --lr"):
        GNMTPlusSchedule(GNMTPlusConfig(lr=[1e-3, 1e-4]), Optimizer())


def test_cooldown():
    common = {"lr": [5e-3], "warmup_updates": 20, "warmup_init_lr": 1e-7}
    fairseqs = InverseSquareRootSchedule(InverseSquareRootLRScheduleConfig(**common), Optimizer())
    config = InverseSqrtCooldownConfig(**common, max_update=80, cooldown_updates=16)
    ours = InverseSqrtCooldownSchedule(config, Optimizer())
    for updates in range(65):
        assert ours.step_update(updates) == fairseqs.step_update(updates)
    start = fairseqs.step_update(64)
    for updates in range(64, 81):
        expected = pytest.approx(start * (80 - updates) / 16, abs=1e-12)
        assert ours.step_update(updates) == expected
        assert ours.optimizer.get_lr() == ours.step(1) == expected
    assert ours.step_update(90) == 0.0
