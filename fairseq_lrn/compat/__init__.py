"""Everything that this package changes in fairseq, one file for each fault.

Each file documents the fault, the affected versions and the patch. Every patch is idempotent, and
fairseq is imported only when :func:`apply_patches` is called.
"""

from typing import Iterable

from fairseq_lrn.compat.requirement import require_fairseq

__all__ = ["apply_patches", "require_fairseq"]


def apply_patches(package: Iterable[str]) -> None:
    """Patch fairseq. Repeated calls have no further effect.

    Args:
        package: the ``__path__`` of this package.

    Raises:
        ImportError: fairseq cannot be imported.
    """
    require_fairseq()
    from fairseq_lrn.compat import (
        averaged_buffers,
        averaged_weights,
        batch_order,
        broadcast,
        busy_cores,
        checkpoint_loading,
        checkpoint_saving,
        copying,
        criterion_updates,
        diverse_beams,
        finished_training,
        fused_loss,
        hydra_architectures,
        language_pair,
        last_batch,
        numpy_names,
        repeated_ngrams,
        trained_subset,
        transformer_fast_path,
        unusable_options,
        user_directory,
    )

    user_directory.patch_user_directory(package)
    checkpoint_loading.allow_checkpoint_types()
    checkpoint_loading.patch_checkpoint_loading()
    checkpoint_loading.patch_resuming()
    checkpoint_saving.patch_checkpoint_saving()
    averaged_buffers.patch_averaged_buffers()
    averaged_weights.patch_averaged_weights()
    batch_order.patch_batch_order()
    broadcast.patch_broadcast()
    busy_cores.patch_busy_cores()
    copying.patch_copying()
    criterion_updates.patch_criterion_updates()
    diverse_beams.patch_diverse_beams()
    finished_training.patch_finished_training()
    fused_loss.patch_output_layers()
    hydra_architectures.patch_architectures()
    language_pair.patch_language_pair()
    last_batch.patch_last_batch()
    numpy_names.patch_numpy_names()
    repeated_ngrams.patch_repeated_ngrams()
    trained_subset.patch_trained_subset()
    transformer_fast_path.patch_transformer_fast_path()
    unusable_options.patch_unusable_options()
