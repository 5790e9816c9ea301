"""fairseq (0.12.2, 0.12.3) evaluates and saves the weights that are trained.

An optimiser that averages weights needs the average there. The patches tell an optimiser that has
the methods ``observe_validation`` and ``begin_evaluation`` when a validation begins, what its loss
was, and when a checkpoint is saved. fairseq tells its schedulers the loss only after the checkpoint
is saved, so a resumed run would not know it.
"""

from fairseq_lrn.compat.patching import patch


def patch_averaged_weights() -> None:
    """Let fairseq's trainer evaluate and save the averaged weights of an optimiser."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    def build_validation(original):
        def begin_valid_epoch(self, epoch):
            if hasattr(self._optimizer, "begin_evaluation"):  # fairseq-validate builds none
                self._optimizer.begin_evaluation()
            return original(self, epoch)

        return begin_valid_epoch

    def build_saving(original):
        def save_checkpoint(cfg, trainer, epoch_itr, val_loss):
            optimizer = getattr(trainer, "optimizer", None)
            if hasattr(optimizer, "begin_evaluation"):
                if val_loss is not None:
                    is_gain = cfg.maximize_best_checkpoint_metric
                    optimizer.observe_validation(-val_loss if is_gain else val_loss)
                optimizer.begin_evaluation()
            return original(cfg, trainer, epoch_itr, val_loss)

        return save_checkpoint

    patch(Trainer, "begin_valid_epoch", build_validation)
    patch(checkpoint_utils, "save_checkpoint", build_saving)
