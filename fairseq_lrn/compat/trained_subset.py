"""Validation on the training subset (``--valid-subset valid,train``) breaks fairseq's training.

fairseq (0.12.2, 0.12.3) keeps one iterator over the batches of a dataset. If the subset that is
trained is validated, too, validation takes the iterator of training, which is then in another
epoch: epochs are skipped, and checkpoints saved within an epoch have a wrong position.

The patch gives validation an iterator of its own. A task may keep another dataset of a subset for
validation, for example with whole texts where models are trained on their beginnings, in
``task.evaluated``, a dictionary from subsets to datasets.
"""

from fairseq_lrn.compat.patching import patch


def patch_trained_subset() -> None:
    """Let fairseq validate on the subset that it trains on."""
    from fairseq.trainer import Trainer

    def build(original):
        def get_valid_iterator(self, subset, disable_iterator_cache=False):
            if subset != self.cfg.dataset.train_subset:
                return original(self, subset, disable_iterator_cache)
            datasets = self.task.datasets
            trained = datasets[subset]
            datasets[subset] = getattr(self.task, "evaluated", {}).get(subset, trained)
            try:
                return original(self, subset, True)
            finally:
                datasets[subset] = trained

        return get_valid_iterator

    patch(Trainer, "get_valid_iterator", build)
