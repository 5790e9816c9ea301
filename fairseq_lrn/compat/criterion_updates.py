"""fairseq (0.12.2, 0.12.3) tells models, but not criterions, the number of updates.

The patch lets the trainer call ``follow_updates`` of a criterion that has this method. The name is
not that of models, ``set_num_updates``: a criterion of another project may have a method of that
name for its own task to call.
"""

from fairseq_lrn.compat.patching import patch


def patch_criterion_updates() -> None:
    """Let fairseq's trainer call ``follow_updates`` of a criterion."""
    from fairseq.trainer import Trainer

    def build(original):
        def set_num_updates(self, num_updates):
            original(self, num_updates)
            if hasattr(self._criterion, "follow_updates"):
                self._criterion.follow_updates(num_updates)

        return set_num_updates

    patch(Trainer, "set_num_updates", build)
