"""fairseq (0.12.2, 0.12.3) tells models, but not criterions, the number of updates.

The patch lets the trainer call ``set_num_updates`` of a criterion that has this method.
"""

from fairseq_lrn.compat.patching import patch


def patch_criterion_updates() -> None:
    """Let fairseq's trainer call ``set_num_updates`` of a criterion."""
    from fairseq.trainer import Trainer

    def build(original):
        def set_num_updates(self, num_updates):
            original(self, num_updates)
            if hasattr(self._criterion, "set_num_updates"):
                self._criterion.set_num_updates(num_updates)

        return set_num_updates

    patch(Trainer, "set_num_updates", build)
