"""What it takes to live inside fairseq: finding it, being found, its checkpoints."""

import _codecs
import argparse
import functools
import logging
import os
import pickle
import shutil
import sys
from typing import Any, Dict, Iterable

import numpy
import torch

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)


def require_fairseq() -> None:
    """Import fairseq, or say what to install.

    Raises:
        ImportError: fairseq is missing, or is there but does not import.
    """
    # While it is imported, fairseq advertises an optional package of its speech tasks.
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)
    try:
        import fairseq.models  # noqa: F401
    except ModuleNotFoundError as error:
        missing = error.name or "fairseq"
        raise ImportError(_remedy(f"the module {missing} is not installed")) from error
    except Exception as error:  # fairseq 0.12.2 on Python 3.11 fails with a ValueError
        raise ImportError(_remedy(f"importing it failed: {error}")) from error


def _remedy(problem: str) -> str:
    if sys.version_info >= (3, 11):
        requirement, remark = "fairseq-fixed>=0.12.3.1", " (fairseq itself ends at Python 3.10)"
    else:
        requirement, remark = "fairseq>=0.12.2", ""
    return (
        f"fairseq_lrn needs fairseq, but {problem}. On Python "
        f"{sys.version_info.major}.{sys.version_info.minor} install {requirement}{remark}: "
        "run 'bash scripts/setup.sh' in a checkout of fairseq_lrn, or "
        "'pip install torch numpy cython setuptools wheel' and then "
        f"'pip install --no-build-isolation \"{requirement}\"'."
    )


class ImportedDirectories(set):
    """fairseq's record of imported user directories, which also knows ours by any path.

    fairseq compares paths as they were spelled, so a relative part or a link would hide that
    the directory is the one that was imported.
    """

    def __init__(self, directories: Iterable[str], package: Iterable[str]):
        super().__init__(directories)
        self.package = {os.path.realpath(path) for path in package}

    def __contains__(self, directory: object) -> bool:
        return super().__contains__(directory) or os.path.realpath(str(directory)) in self.package


def announce_to_fairseq(package: Iterable[str]) -> None:
    """Tell ``--user-dir`` that this package is imported already.

    fairseq refuses a user directory whose module name is taken. Without this it would take
    an earlier ``import fairseq_lrn`` for another package. A second checkout is still refused.

    Args:
        package: the package's ``__path__``.
    """
    from fairseq.utils import import_user_module

    imported = getattr(import_user_module, "memo", set())
    import_user_module.memo = ImportedDirectories(imported, package)


def allow_checkpoint_types() -> None:
    """Let torch's safe loading (``weights_only``, the default since torch 2.6) read checkpoints.

    Beside plain types and tensors, fairseq's checkpoints hold ``argparse.Namespace`` (models
    configured without a dataclass) and, after training with ``--eval-bleu``, arrays of n-gram
    counts. Anything else is still refused.
    """
    if not hasattr(torch.serialization, "add_safe_globals"):  # see checkpoints.SAFELY
        return
    try:
        from numpy._core.multiarray import _reconstruct
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct
    torch.serialization.add_safe_globals([argparse.Namespace])
    torch.serialization.add_safe_globals(
        [numpy.ndarray, numpy.dtype, type(numpy.dtype(numpy.int64)), _codecs.encode]
    )
    # Either numpy reads what the other wrote.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        torch.serialization.add_safe_globals([(_reconstruct, f"{module}._reconstruct")])


class RebuildingBatches:
    """A task's options, with one more that fairseq asks for and no task has."""

    rebuild_batches = True

    def __init__(self, cfg):
        self.__dict__["cfg"] = cfg

    def __getattr__(self, name):
        return getattr(self.cfg, name)

    def __setattr__(self, name, value):
        setattr(self.cfg, name, value)


def renew_batches() -> None:
    """Let fairseq put the batches of training together anew in each epoch.

    It does so in the first epoch of a process, by the epoch's own seed, and keeps them for later
    ones. A training that is resumed in a later epoch would so go on with other batches than one
    that was never interrupted.
    """
    from fairseq.trainer import Trainer

    fairseqs = Trainer.get_train_iterator

    @functools.wraps(fairseqs)
    def get_train_iterator(self, *args, **kwargs):
        cfg = self.task.cfg
        self.task.cfg = RebuildingBatches(cfg)
        try:
            return fairseqs(self, *args, **kwargs)
        finally:
            self.task.cfg = cfg

    Trainer.get_train_iterator = get_train_iterator


def tell_criterion() -> None:
    """Let fairseq tell a criterion with ``set_num_updates`` how many there were, like models."""
    from fairseq.trainer import Trainer

    fairseqs = Trainer.set_num_updates

    @functools.wraps(fairseqs)
    def set_num_updates(self, num_updates):
        fairseqs(self, num_updates)
        if hasattr(self._criterion, "set_num_updates"):
            self._criterion.set_num_updates(num_updates)

    Trainer.set_num_updates = set_num_updates


def keep_text(state: Dict[str, Any], directory: str) -> None:
    """Put beside a checkpoint what it takes to translate raw text, if our script prepared the data.

    Args:
        state: the checkpoint.
        directory: where it lies.
    """
    from fairseq_lrn.data import raw

    data = ((state.get("cfg") or {}).get("task") or {}).get("data")
    if not isinstance(data, str):
        return
    try:
        raw.keep(data.split(os.pathsep)[0], directory)
    except InputError as error:  # no reason to end a training
        logger.warning("raw text can not be translated from %s alone: %s", directory, error)


def protect_checkpoints() -> None:
    """Let a file with a checkpoint's name always be whole, and errors say what is wrong with it.

    fairseq writes a new checkpoint under a temporary name, but then copies it to
    ``checkpoint_last.pt`` and ``checkpoint_best.pt`` in place, so that a run that is killed
    there has no ``checkpoint_last.pt`` to go on from. Writing to a full disk it tries again into
    the same file, and what it raises in the end names neither the file nor the reason.

    Beside a checkpoint are put the files that it takes to translate raw text with it.
    """
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    fairseqs_save, fairseqs_copy = checkpoint_utils.torch_persistent_save, PathManager.copy
    fairseqs_load = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(fairseqs_save)
    def save(obj, filename, async_write=False):
        if async_write or not PathManager.supports_rename(filename):
            return fairseqs_save(obj, filename, async_write)
        checkpoints.save(obj, filename)
        keep_text(obj, os.path.dirname(filename))

    @functools.wraps(fairseqs_copy)
    def copy(src_path, dst_path, overwrite=False):
        is_local = PathManager.supports_rename(src_path) and PathManager.supports_rename(dst_path)
        if not is_local or not overwrite:
            return fairseqs_copy(src_path, dst_path, overwrite)
        with open(src_path, "rb") as source:
            with checkpoints.replacing(dst_path) as file:
                shutil.copyfileobj(source, file)
        return True

    @functools.wraps(fairseqs_load)
    def load(path, *args, **kwargs):
        is_local = PathManager.supports_rename(path)
        if is_local and torch.__version__ < (2, 6):
            checkpoints.load(path)  # before fairseq does it in the way that runs what it is told
        try:
            return fairseqs_load(path, *args, **kwargs)
        except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError):
            if is_local:
                checkpoints.load(path)  # says what is wrong, if it is the file
            raise

    checkpoint_utils.torch_persistent_save = save
    checkpoint_utils.load_checkpoint_to_cpu = load
    PathManager.copy = staticmethod(copy)
