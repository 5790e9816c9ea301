"""The import of fairseq, or an error that says what to install."""

import logging
import sys


def require_fairseq() -> None:
    """Import fairseq, or raise an error that says what to install.

    Raises:
        ImportError: fairseq is missing, or importing it fails.
    """
    # On import, fairseq logs that an optional package of its speech tasks is missing.
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
        "fairseq_lrn needs fairseq for everything except LRN and fairseq_lrn.ops, but "
        f"{problem}. On Python {sys.version_info.major}.{sys.version_info.minor} install "
        f"{requirement}{remark}: run 'bash scripts/setup.sh' in a checkout of fairseq_lrn, or "
        "'pip install torch numpy cython setuptools wheel' and then "
        f"'pip install --no-build-isolation \"{requirement}\" protobuf sacremoses sentencepiece'."
    )
