"""fairseq (0.12.2, 0.12.3) loads checkpoints unsafely or not at all, with unclear errors.

Since torch 2.6, ``torch.load`` refuses fairseq's checkpoints, because they hold types that are not
on its list (``weights_only=True``). With older versions of torch, loading a checkpoint can run
code. For a damaged file, fairseq's error names neither the file nor the reason. If a checkpoint
belongs to other data, the trainer says that the architectures do not match.

The patches put the harmless types of fairseq's checkpoints on torch's list, check checkpoints
before fairseq loads them with an older torch, and raise an error that names the file or the data.
"""

import _codecs
import argparse
import pickle
from typing import Any

import torch

from fairseq_lrn import checkpoints
from fairseq_lrn.compat.patching import patch
from fairseq_lrn.errors import DataMismatch


def allow_checkpoint_types() -> None:
    """Let torch's safe loading read fairseq's checkpoints.

    Apart from plain types and tensors, they hold ``argparse.Namespace`` (models that are
    configured without a dataclass) and, after training with ``--eval-bleu``, arrays of n-gram
    counts: integers, or float64 from several processes. Any other type is still refused.
    """
    if not hasattr(torch.serialization, "add_safe_globals"):  # see checkpoints.SAFE_LOADING
        return
    import numpy  # a requirement of fairseq, but not of torch

    reconstruct: Any = numpy.empty(0).__reduce__()[0]  # numpy's own private function
    torch.serialization.add_safe_globals([argparse.Namespace])
    number_types = [type(numpy.dtype(kind)) for kind in (numpy.int64, numpy.float64)]
    torch.serialization.add_safe_globals(
        [numpy.ndarray, numpy.dtype, *number_types, _codecs.encode]
    )
    # numpy 1 and 2 name this function differently; each must read checkpoints of the other.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        torch.serialization.add_safe_globals([(reconstruct, f"{module}._reconstruct")])


def patch_checkpoint_loading() -> None:
    """Let fairseq load checkpoints safely, with an error that names the file and the reason."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    def build(original):
        def load_checkpoint_to_cpu(path, *args, **kwargs):
            is_local = PathManager.supports_rename(path)
            if is_local and torch.__version__ < (2, 6):
                checkpoints.load(path)  # before fairseq loads it in a way that can run code
            try:
                return original(path, *args, **kwargs)
            except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError):
                if is_local:
                    checkpoints.load(path)  # raises an error that names the file, if it is at fault
                raise

        return load_checkpoint_to_cpu

    patch(checkpoint_utils, "load_checkpoint_to_cpu", build)


def patch_resuming() -> None:
    """Let a training run that would resume on other data say so."""
    from fairseq.trainer import Trainer

    def build(original):
        def load_checkpoint(self, filename, *args, **kwargs):
            try:
                return original(self, filename, *args, **kwargs)
            except Exception as error:
                if isinstance(error.__context__, DataMismatch):
                    raise DataMismatch(f"{filename}: {error.__context__}") from None
                raise

        return load_checkpoint

    patch(Trainer, "load_checkpoint", build)
