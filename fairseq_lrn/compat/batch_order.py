"""fairseq (0.12.2, 0.12.3) builds other batches in a resumed training run.

It groups sentences into batches in the first epoch of a process, with that epoch's seed, and keeps
these batches for later epochs. A training run that is resumed in a later epoch would therefore see
other batches than one that was never interrupted. The patch groups sentences anew in each epoch.
"""

from fairseq_lrn.compat.patching import patch


class RebuildingBatches:
    """The options of a task, with the option ``rebuild_batches``.

    fairseq reads this option, but no task defines it.

    Args:
        cfg: options of a task.
    """

    rebuild_batches = True

    def __init__(self, cfg):
        self.__dict__["cfg"] = cfg

    def __getattr__(self, name):
        return getattr(self.cfg, name)

    def __setattr__(self, name, value):
        setattr(self.cfg, name, value)


def patch_batch_order() -> None:
    """Let fairseq group sentences into batches anew in each epoch."""
    from fairseq.trainer import Trainer

    def build(original):
        def get_train_iterator(self, *args, **kwargs):
            cfg = self.task.cfg
            self.task.cfg = RebuildingBatches(cfg)
            try:
                return original(self, *args, **kwargs)
            finally:
                self.task.cfg = cfg

        return get_train_iterator

    patch(Trainer, "get_train_iterator", build)
