"""What the documentation shows in Python runs."""

import re
import shutil

import pytest


@pytest.fixture(scope="module")
def blocks(root):
    text = (root / "docs" / "python.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_translating(blocks, quickstart, tmp_path, monkeypatch, capsys):
    shutil.copytree(quickstart[0] / "checkpoints", tmp_path / "checkpoints" / "mine")
    monkeypatch.chdir(tmp_path)
    scope = {}
    shown = [block for block in blocks if "LRN(" not in block]
    assert len(shown) == 3
    for block in shown:
        exec(block, scope)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[-1] != ""
    assert len(lines) == 2 + 2 * 3 + 1


def test_classification(blocks, capsys):
    (block,) = [block for block in blocks if "LRN(" in block]
    scope = {}
    exec(block, scope)
    assert scope["accuracy"] > 0.95
    assert "% of new sentences" in capsys.readouterr().out
    # What it shows is that order matters, so without the recurrence it cannot be told.
    assert 0.4 < scope["dog_first"].mean().item() < 0.6
