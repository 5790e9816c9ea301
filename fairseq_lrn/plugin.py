"""What it takes to live inside fairseq: finding it, being found, loading its checkpoints."""

import argparse
import logging
import os
import sys
from typing import Iterable

import torch


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


def announce_to_fairseq(paths: Iterable[str]) -> None:
    """Tell ``--user-dir`` that this package is imported already.

    fairseq keeps a record of the directories that it imported and refuses another one of
    the same name. Without this entry it would take an earlier ``import fairseq_lrn`` for
    another package. A second checkout is still refused.
    """
    from fairseq.utils import import_user_module

    memo = getattr(import_user_module, "memo", set())
    for path in paths:
        memo.update((os.path.abspath(path), os.path.realpath(path)))
    import_user_module.memo = memo


def allow_checkpoint_types() -> None:
    """Let torch's safe loading (``weights_only``, the default since torch 2.6) read checkpoints.

    fairseq's checkpoints hold plain types, tensors and, for models configured without a
    dataclass, ``argparse.Namespace``. Anything else is still refused.
    """
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals([argparse.Namespace])
