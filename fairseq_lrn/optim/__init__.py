"""Optimisers and learning-rate schedules for fairseq. Importing this package registers them."""

from fairseq_lrn.compat import require_fairseq

require_fairseq()

from fairseq_lrn.optim.adam import TorchAdam  # noqa: E402
from fairseq_lrn.optim.averaged_sgd import AveragedSGD  # noqa: E402
from fairseq_lrn.optim.lr_scheduler import (  # noqa: E402
    GNMTPlusSchedule,
    InverseSqrtCooldownSchedule,
)

__all__ = ["AveragedSGD", "GNMTPlusSchedule", "InverseSqrtCooldownSchedule", "TorchAdam"]
