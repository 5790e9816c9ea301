"""The import of fairseq, or an error that says what to install."""

import logging
import sys

import pytest

from fairseq_lrn.compat import require_fairseq


def test_fairseq_is_imported():
    require_fairseq()
    assert "fairseq.models" in sys.modules
    # On import, fairseq advertises a package of its speech tasks at the level INFO.
    assert not logging.getLogger("fairseq.tasks.text_to_speech").isEnabledFor(logging.INFO)


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
