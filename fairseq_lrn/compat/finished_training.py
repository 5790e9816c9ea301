"""A training run that has made its ``--max-update`` updates makes one more if it is started again.

fairseq (0.12.2, 0.12.3) compares the number of updates with ``--max-update`` after an update only.
The further update can be a large one: the cosine schedule starts its next period there.

The patch makes no update then, so that fairseq validates and saves the same weights again.
"""

import logging

from fairseq_lrn.compat.patching import patch

logger = logging.getLogger(__name__)


def patch_finished_training() -> None:
    """Let fairseq stop at ``--max-update`` if a finished training run is started again."""
    from fairseq.trainer import Trainer

    def build(original):
        def train_step(self, samples, raise_oom=False):
            limit = self.cfg.optimization.max_update
            if 0 < limit <= self.get_num_updates():
                logger.info(
                    "the training run has made %d updates, and --max-update is %g: it is finished",
                    self.get_num_updates(),
                    limit,
                )
                return None
            return original(self, samples, raise_oom)

        return train_step

    patch(Trainer, "train_step", build)
