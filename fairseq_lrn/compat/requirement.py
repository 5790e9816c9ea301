"""The import of fairseq, or an error that says what to install."""

import contextlib
import logging
import sys
from typing import Iterator


def require_fairseq() -> None:
    """Import fairseq, or raise an error that says what to install.

    Logging stays as it is. When fairseq is imported, its tasks and models would set up the root
    logger, at the level DEBUG, as if they were programs.

    Raises:
        ImportError: fairseq is missing, or importing it fails.
    """
    try:
        with unchanged_logging():
            import fairseq.models  # noqa: F401
    except ModuleNotFoundError as error:
        missing = error.name or "fairseq"
        raise ImportError(_remedy(f"the module {missing} is not installed")) from error
    except Exception as error:  # fairseq 0.12.2 on Python 3.11 fails with a ValueError
        raise ImportError(_remedy(f"importing it failed: {error}")) from error


@contextlib.contextmanager
def unchanged_logging() -> Iterator[None]:
    """Restore the handlers and the levels of all loggers that exist before the block."""
    # On import, fairseq logs that an optional package of its speech tasks is missing.
    speech = logging.getLogger("fairseq.tasks.text_to_speech")
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    before = [
        (logger, logger.level, logger.handlers[:])
        for logger in loggers
        if isinstance(logger, logging.Logger)  # others stand for loggers that nobody has asked for
    ]
    speech.setLevel(logging.WARNING)
    logging.root.addHandler(logging.NullHandler())  # with it, logging.basicConfig does nothing
    try:
        yield
    finally:
        for logger, level, handlers in before:
            if logger.level != level:  # setLevel empties the caches of all loggers
                logger.setLevel(level)
            logger.handlers[:] = handlers


def _remedy(problem: str) -> str:
    if sys.version_info >= (3, 11):
        requirement, remark = "fairseq-fixed>=0.12.3.1", " (fairseq itself ends at Python 3.10)"
    else:
        requirement, remark = "fairseq>=0.12.2", ""
    return (
        "fairseq_lrn needs fairseq for everything except LRN and fairseq_lrn.ops, but "
        f"{problem}. On Python {sys.version_info.major}.{sys.version_info.minor} install "
        f"{requirement}{remark}: run 'bash scripts/setup.sh' in a checkout of fairseq_lrn, or "
        "'pip install torch numpy cython setuptools wheel' and then "
        f"'pip install --no-build-isolation \"{requirement}\" protobuf sacremoses sentencepiece'."
    )
