"""Commands of other packages, whatever files the current directory has."""

import sys

import pytest

from fairseq_lrn.data.run_module import run_module


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 has a safe path")
def test_modules_are_not_taken_from_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "tokenize.py").write_text("raise SystemExit('the file of the user')")
    monkeypatch.chdir(tmp_path)
    result = run_module("inspect", ["--details", "json"])  # it imports tokenize
    assert result.returncode == 0 and "Target: json" in result.stdout, result.stderr


def test_there_is_no_input():
    result = run_module("base64", ["-e", "-"])
    assert (result.returncode, result.stdout) == (0, "")
