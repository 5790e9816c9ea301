"""Learning-rate schedules. Importing this package registers them."""

from fairseq_lrn.optim.lr_scheduler.gnmt_plus import GNMTPlusSchedule
from fairseq_lrn.optim.lr_scheduler.inverse_sqrt_cooldown import InverseSqrtCooldownSchedule

__all__ = ["GNMTPlusSchedule", "InverseSqrtCooldownSchedule"]
