"""The import of fairseq, or an error that says what to install."""

import logging
import sys

import pytest

from fairseq_lrn.compat import require_fairseq
from fairseq_lrn.compat.requirement import unchanged_logging


def test_fairseq_is_imported():
    require_fairseq()
    assert "fairseq.models" in sys.modules


def test_logging_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    named, speech = (logging.getLogger(f"fairseq.tasks.{name}") for name in ("x", "text_to_speech"))
    levels = [logger.level for logger in (logging.root, named, speech)]
    with unchanged_logging():
        logging.basicConfig(level=logging.DEBUG)  # as modules of fairseq do
        logging.root.setLevel(logging.DEBUG)
        named.setLevel(logging.DEBUG)
        assert not speech.isEnabledFor(logging.INFO)  # it advertises another package
    assert logging.root.handlers == []
    assert [logger.level for logger in (logging.root, named, speech)] == levels


@pytest.mark.parametrize(
    "version, requirement", [((3, 11), "fairseq-fixed>=0.12.3.1"), ((3, 10), "fairseq>=0.12.2")]
)
def test_missing_fairseq(monkeypatch, version, requirement):
    class Version(tuple):
        major, minor = version

    monkeypatch.setattr(sys, "version_info", Version(version))
    monkeypatch.setitem(sys.modules, "fairseq.models", None)
    with pytest.raises(ImportError, match="the module fairseq.models is not installed") as error:
        require_fairseq()
    assert f"On Python {version[0]}.{version[1]} install {requirement}" in str(error.value)
    assert "scripts/setup.sh" in str(error.value)
