"""The schedule ``inverse_sqrt_cooldown``, against fairseq's ``inverse_sqrt``."""

import pytest
from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY
from fairseq.optim.lr_scheduler.inverse_square_root_schedule import (
    InverseSquareRootLRScheduleConfig,
    InverseSquareRootSchedule,
)

from fairseq_lrn.optim import InverseSqrtCooldownSchedule
from fairseq_lrn.optim.lr_scheduler.inverse_sqrt_cooldown import InverseSqrtCooldownConfig

COMMON = {"lr": [5e-3], "warmup_updates": 20, "warmup_init_lr": 1e-7}


def test_is_registered():
    assert LR_SCHEDULER_REGISTRY["inverse_sqrt_cooldown"] is InverseSqrtCooldownSchedule


def test_cooldown(optimizer):
    """The same learning rates as without a cooldown, then 16 equal steps to 0."""
    inverse_sqrt = InverseSquareRootSchedule(
        InverseSquareRootLRScheduleConfig(**COMMON), optimizer()
    )
    config = InverseSqrtCooldownConfig(**COMMON, max_update=80, cooldown_updates=16)
    schedule = InverseSqrtCooldownSchedule(config, optimizer())
    for updates in range(65):
        assert schedule.step_update(updates) == inverse_sqrt.step_update(updates)
    start = inverse_sqrt.step_update(64)
    for updates in range(64, 81):
        expected = pytest.approx(start * (80 - updates) / 16, abs=1e-12)
        assert schedule.step_update(updates) == expected
        assert schedule.optimizer.get_lr() == schedule.step(1) == expected
    assert schedule.step_update(90) == 0.0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cooldown_updates": 0, "max_update": 9}, "use --lr-scheduler inverse_sqrt"),
        ({"cooldown_updates": 9, "max_update": 8}, r"9 is not less than --max-update \(8\)"),
        ({"cooldown_updates": 8, "max_update": 8}, "learning rate would always be 0"),
        (
            {"cooldown_updates": 1, "max_update": 8, "warmup_updates": 0},
            "--warmup-updates must be at least 1, not 0",
        ),
    ],
)
def test_invalid_options(optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        InverseSqrtCooldownSchedule(InverseSqrtCooldownConfig(**{**COMMON, **options}), optimizer())


def test_cooldown_inside_of_the_warm_up(optimizer, caplog):
    for cooldown, is_warned in ((60, False), (61, True)):
        config = InverseSqrtCooldownConfig(**COMMON, max_update=80, cooldown_updates=cooldown)
        InverseSqrtCooldownSchedule(config, optimizer())
        assert ("the learning rate does not reach --lr" in caplog.text) == is_warned


def test_a_single_update(optimizer):
    config = InverseSqrtCooldownConfig(**COMMON, max_update=1, cooldown_updates=1)
    assert InverseSqrtCooldownSchedule(config, optimizer()).step_update(0) == 1e-7
