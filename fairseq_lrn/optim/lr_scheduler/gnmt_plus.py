"""The learning-rate schedule of the authors' training runs."""

from dataclasses import dataclass, field
from typing import List

from fairseq.dataclass import FairseqDataclass
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II

from fairseq_lrn.options import check_minimum


@dataclass
class GNMTPlusConfig(FairseqDataclass):
    """Options of ``--lr-scheduler gnmt_plus``, with the defaults of the authors' toolkit."""

    warmup_updates: int = field(
        default=400, metadata={"help": "the warm-up takes nstable times this number of updates"}
    )
    nstable: int = field(
        default=4,
        metadata={
            "help": "the learning rate rises from --lr to nstable times --lr "
            "(in GNMT, nstable is the number of GPUs)"
        },
    )
    lr_decay_start: int = field(
        default=600000,
        metadata={
            "help": "the decay begins when nstable times the number of updates exceeds this number"
        },
    )
    lr_decay_end: int = field(
        default=1200000,
        metadata={
            "help": "the learning rate is half of --lr when nstable times the number of updates "
            "reaches this number"
        },
    )
    lr: List[float] = II("optimization.lr")

    def check(self) -> None:
        """Refuse invalid values and conflicting options.

        Raises:
            ValueError: names the option and the remedy.
        """
        if len(self.lr) > 1:
            raise ValueError("--lr-scheduler gnmt_plus takes one --lr, not one for each epoch")
        check_minimum(1, warmup_updates=self.warmup_updates, nstable=self.nstable)
        check_minimum(0, lr_decay_start=self.lr_decay_start)
        if self.lr_decay_end <= self.lr_decay_start:
            raise ValueError(
                f"--lr-decay-end ({self.lr_decay_end}) must be above --lr-decay-start "
                f"({self.lr_decay_start})"
            )


@register_lr_scheduler("gnmt_plus", dataclass=GNMTPlusConfig)
class GNMTPlusSchedule(FairseqLRScheduler):
    """Linear warm-up, plateau, exponential decay.

    After t updates, with n = ``nstable``, p = ``warmup_updates``, s = ``lr_decay_start`` and
    e = ``lr_decay_end``, the learning rate is ::

        lr * min(1 + t (n - 1) / (n p), n, n (2 n)^((s - n t) / (e - s)))

    but never above 1.

    Raises:
        ValueError: an option has an invalid value or conflicts with another.

    Source: the authors' toolkit (bzhangGo/zero, ``lrs/gnmtlr.py``), after Chen et al. (2018), "The
    Best of Both Worlds".
    """

    def __init__(self, cfg: GNMTPlusConfig, optimizer):
        super().__init__(cfg, optimizer)
        self.options = GNMTPlusConfig.from_namespace(cfg)
        self.options.lr = list(cfg.lr)
        self.options.check()
        self.step_update(0)

    def step_update(self, num_updates: int) -> float:
        """Set the learning rate of the next update, after *num_updates* updates."""
        options = self.options
        n = options.nstable
        warmup = 1 + num_updates * (n - 1) / (n * options.warmup_updates)
        span = options.lr_decay_end - options.lr_decay_start
        # Before the decay, the exponent is positive. The limit keeps the power from overflowing.
        exponent = min((options.lr_decay_start - n * num_updates) / span, 1.0)
        lr = options.lr[0] * min(warmup, n, n * (2 * n) ** exponent)
        self.optimizer.set_lr(min(max(lr, 0.0), 1.0))
        return self.optimizer.get_lr()

    def step(self, epoch: int, val_loss=None) -> float:
        """Called by fairseq after each epoch. The learning rate does not depend on the epoch."""
        super().step(epoch, val_loss)
        return self.optimizer.get_lr()
