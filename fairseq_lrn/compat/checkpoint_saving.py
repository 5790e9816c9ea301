"""fairseq (0.12.2, 0.12.3) can leave an incomplete ``checkpoint_last.pt`` behind.

It writes a new checkpoint under a temporary name, but then copies it to ``checkpoint_last.pt`` and
``checkpoint_best.pt`` in place. A training run that is killed during the copy cannot be resumed. On
a full disk, fairseq writes to the same file again and again, and its error names neither the file
nor the reason.

The patches write and copy under a temporary name and rename the complete file. After a checkpoint
is saved, registered functions may put files beside it (:func:`register_companion`), e.g. the files
that raw text needs. These files are optional: if writing them fails, training goes on.
"""

import logging
import os
import shutil
from typing import Any, Callable, Dict, List

from fairseq_lrn import checkpoints
from fairseq_lrn.compat.patching import patch
from fairseq_lrn.files import atomic_write

logger = logging.getLogger(__name__)

Companion = Callable[[Dict[str, Any], str], None]
_companions: List[Companion] = []


def register_companion(companion: Companion) -> Companion:
    """Call *companion* with each checkpoint that fairseq saves, and with its directory."""
    if companion not in _companions:
        _companions.append(companion)
    return companion


def write_companions(state: Dict[str, Any], directory: str) -> None:
    """Put files beside a checkpoint. A failure is logged; it does not end the training run.

    Args:
        state: the checkpoint.
        directory: its directory.
    """
    for companion in _companions:
        try:
            companion(state, directory)
        except Exception as error:  # the files are optional
            logger.warning("cannot put files beside the checkpoint in %s: %s", directory, error)


def patch_checkpoint_saving() -> None:
    """Let fairseq write and copy checkpoints so that no file with their name is incomplete."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    def build_save(original):
        def torch_persistent_save(obj, filename, async_write=False):
            if async_write or not PathManager.supports_rename(filename):
                return original(obj, filename, async_write)
            checkpoints.save(obj, filename)
            write_companions(obj, os.path.dirname(filename))

        return torch_persistent_save

    def build_copy(original):
        def copy(src_path, dst_path, overwrite=False):
            is_local = all(map(PathManager.supports_rename, (src_path, dst_path)))
            if not is_local or not overwrite:
                return original(src_path, dst_path, overwrite)
            with open(src_path, "rb") as source, atomic_write(dst_path) as file:
                shutil.copyfileobj(source, file)
            return True

        return copy

    patch(checkpoint_utils, "torch_persistent_save", build_save)
    patch(PathManager, "copy", build_copy)
