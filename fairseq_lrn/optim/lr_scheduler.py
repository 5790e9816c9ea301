"""Learning-rate schedules: that of the authors' runs, and fairseq's most used one with an end."""

from dataclasses import dataclass, field
from typing import List

from fairseq.dataclass import FairseqDataclass
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.inverse_square_root_schedule import (
    InverseSquareRootLRScheduleConfig,
    InverseSquareRootSchedule,
)
from omegaconf import II


@dataclass
class GNMTPlusConfig(FairseqDataclass):
    """Options of ``--lr-scheduler gnmt_plus``, with the defaults of the authors' toolkit."""

    warmup_updates: int = field(
        default=400, metadata={"help": "the warm-up lasts nstable times as many updates"}
    )
    nstable: int = field(
        default=4,
        metadata={"help": "the rate rises from --lr to nstable times --lr (in GNMT: the GPUs)"},
    )
    lr_decay_start: int = field(
        default=600000,
        metadata={"help": "decay begins when nstable times the number of updates is above this"},
    )
    lr_decay_end: int = field(
        default=1200000,
        metadata={"help": "half of --lr is reached when nstable times the updates are this many"},
    )
    lr: List[float] = II("optimization.lr")

    def check(self) -> None:
        """Refuse values that make no schedule.

        Raises:
            ValueError: names the option and the remedy.
        """
        if len(self.lr) > 1:
            raise ValueError("--lr-scheduler gnmt_plus takes one --lr, not one for each epoch")
        for name, least in (("warmup_updates", 1), ("nstable", 1), ("lr_decay_start", 0)):
            if getattr(self, name) < least:
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} must be at least {least}, not {getattr(self, name)}")
        if self.lr_decay_end <= self.lr_decay_start:
            raise ValueError(
                f"--lr-decay-end ({self.lr_decay_end}) must be above --lr-decay-start "
                f"({self.lr_decay_start})"
            )


@register_lr_scheduler("gnmt_plus", dataclass=GNMTPlusConfig)
class GNMTPlusSchedule(FairseqLRScheduler):
    r"""Linear rise, plateau, exponential decay.

    After t updates, with n = ``nstable``, p = ``warmup_updates``, s = ``lr_decay_start``,
    e = ``lr_decay_end``:

    .. math::
        lr \cdot \min\{1 + t (n - 1) / (n p),\; n,\; n (2n)^{(s - n t) / (e - s)}\}

    and at most 1. Source: the authors' toolkit (bzhangGo/zero, ``lrs/gnmtlr.py``), after Chen et
    al. (2018), "The Best of Both Worlds".
    """

    def __init__(self, cfg: GNMTPlusConfig, optimizer):
        super().__init__(cfg, optimizer)
        self.options = GNMTPlusConfig.from_namespace(cfg)
        self.options.lr = list(cfg.lr)
        self.options.check()
        self.step_update(0)

    def step_update(self, num_updates: int) -> float:
        """Set the rate of the next update, after *num_updates*."""
        options = self.options
        n = options.nstable
        rise = 1 + num_updates * (n - 1) / (n * options.warmup_updates)
        span = options.lr_decay_end - options.lr_decay_start
        # Before the decay the exponent is positive, and may be large.
        exponent = min((options.lr_decay_start - n * num_updates) / span, 1.0)
        lr = options.lr[0] * min(rise, n, n * (2 * n) ** exponent)
        self.optimizer.set_lr(min(max(lr, 0.0), 1.0))
        return self.optimizer.get_lr()

    def step(self, epoch: int, val_loss=None) -> float:
        """The rate does not change with the epoch."""
        super().step(epoch, val_loss)
        return self.optimizer.get_lr()


@dataclass
class InverseSqrtCooldownConfig(InverseSquareRootLRScheduleConfig):
    """Options of ``--lr-scheduler inverse_sqrt_cooldown``, beside those of ``inverse_sqrt``."""

    cooldown_updates: int = field(
        default=0,
        metadata={"help": "in the last N of --max-update updates, fall linearly to 0"},
    )
    max_update: int = II("optimization.max_update")

    def check(self) -> None:
        """Refuse values that make no schedule.

        Raises:
            ValueError: names the option and the remedy.
        """
        if self.cooldown_updates < 1:
            raise ValueError(
                f"--cooldown-updates must be at least 1, not {self.cooldown_updates}; without a "
                "cooldown use --lr-scheduler inverse_sqrt"
            )
        if self.cooldown_updates > self.max_update:
            raise ValueError(
                f"--cooldown-updates {self.cooldown_updates} are more than --max-update "
                f"({self.max_update}), with which the cooldown ends: change one of them"
            )


@register_lr_scheduler("inverse_sqrt_cooldown", dataclass=InverseSqrtCooldownConfig)
class InverseSqrtCooldownSchedule(InverseSquareRootSchedule):
    """fairseq's ``inverse_sqrt``, then linearly to 0 within the last updates.

    Source: Hägele et al. (2024), "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", for the linear cooldown.
    """

    def __init__(self, cfg: InverseSqrtCooldownConfig, optimizer):
        options = InverseSqrtCooldownConfig.from_namespace(cfg)
        options.check()
        super().__init__(cfg, optimizer)
        self.max_update, self.cooldown_updates = options.max_update, options.cooldown_updates

    def step_update(self, num_updates: int) -> float:
        """Set the rate of the next update, after *num_updates*."""
        remaining = max(self.max_update - num_updates, 0)
        if remaining >= self.cooldown_updates:
            return super().step_update(num_updates)
        super().step_update(self.max_update - self.cooldown_updates)
        self.lr *= remaining / self.cooldown_updates
        self.optimizer.set_lr(self.lr)
        return self.lr
