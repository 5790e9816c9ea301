"""fairseq's schedule ``inverse_sqrt`` with a cooldown at its end."""

import logging
from dataclasses import dataclass, field

from fairseq.optim.lr_scheduler import register_lr_scheduler
from fairseq.optim.lr_scheduler.inverse_square_root_schedule import (
    InverseSquareRootLRScheduleConfig,
    InverseSquareRootSchedule,
)
from omegaconf import II

from fairseq_lrn.options import check_minimum

logger = logging.getLogger(__name__)


@dataclass
class InverseSqrtCooldownConfig(InverseSquareRootLRScheduleConfig):
    """Options of ``--lr-scheduler inverse_sqrt_cooldown``, in addition to ``inverse_sqrt``'s."""

    cooldown_updates: int = field(
        default=0,
        metadata={
            "help": "number of updates of the linear cooldown, which ends at --max-update "
            "(required)"
        },
    )
    max_update: int = II("optimization.max_update")

    def check(self) -> None:
        """Refuse invalid values and conflicting options.

        Raises:
            ValueError: names the option and the remedy.
        """
        if self.cooldown_updates < 1:
            raise ValueError(
                f"--cooldown-updates must be at least 1, not {self.cooldown_updates}; for a "
                "training run without a cooldown, use --lr-scheduler inverse_sqrt"
            )
        # The only update of a training run comes before the cooldown.
        if self.cooldown_updates >= max(self.max_update, 2):
            raise ValueError(
                f"--cooldown-updates {self.cooldown_updates} is not less than --max-update "
                f"({self.max_update}), where the cooldown ends, so the learning rate would always "
                "be 0: change one of them"
            )
        check_minimum(1, warmup_updates=self.warmup_updates)
        first = self.max_update - self.cooldown_updates
        if 0 < first < self.warmup_updates:
            logger.warning(
                "the cooldown begins after %d updates, inside of the warm-up of %d updates, so the "
                "learning rate does not reach --lr: lower --cooldown-updates or --warmup-updates",
                first,
                self.warmup_updates,
            )


@register_lr_scheduler("inverse_sqrt_cooldown", dataclass=InverseSqrtCooldownConfig)
class InverseSqrtCooldownSchedule(InverseSquareRootSchedule):
    """fairseq's ``inverse_sqrt``, then a cooldown: a linear decrease to 0 in the last updates.

    Raises:
        ValueError: an option has an invalid value or conflicts with another.

    Source: Hägele et al. (2024), "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", for the linear cooldown.
    """

    def __init__(self, cfg: InverseSqrtCooldownConfig, optimizer):
        options = InverseSqrtCooldownConfig.from_namespace(cfg)
        options.check()
        super().__init__(cfg, optimizer)
        self.max_update, self.cooldown_updates = options.max_update, options.cooldown_updates

    def step_update(self, num_updates: int) -> float:
        """Set the learning rate of the next update, after *num_updates* updates."""
        remaining = max(self.max_update - num_updates, 0)
        if remaining >= self.cooldown_updates:
            return super().step_update(num_updates)
        super().step_update(self.max_update - self.cooldown_updates)
        self.lr *= remaining / self.cooldown_updates
        self.optimizer.set_lr(self.lr)
        return self.lr
