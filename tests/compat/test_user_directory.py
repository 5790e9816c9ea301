"""fairseq_lrn as a user directory: by path, by name, imported before, in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import fairseq
import pytest
from fairseq.utils import import_user_module

import fairseq_lrn
from fairseq_lrn.compat.user_directory import patch_user_directory

USE = """
import sys
from argparse import Namespace
from fairseq import utils
from fairseq.models import ARCH_MODEL_REGISTRY
utils.import_user_module(Namespace(user_dir=sys.argv[1]))
assert {"lrn", "lrn_tiny", "lrn_iwslt_de_en", "lrn_wmt_en_de"} <= set(ARCH_MODEL_REGISTRY)
import fairseq_lrn
print("from", fairseq_lrn.__path__[0])
"""


def run(code, *arguments, path=(), cwd=None):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)


def test_by_path(root, tmp_path):
    result = run(USE, root / "fairseq_lrn", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"from {root / 'fairseq_lrn'}" in result.stdout


@pytest.mark.parametrize("first", ["import fairseq_lrn", "import fairseq_lrn.ops"])
def test_imported_before(root, first):
    code = f"{first}\n{USE}\nutils.import_user_module(Namespace(user_dir=sys.argv[1]))"
    result = run(code, root / "fairseq_lrn", path=[root])
    assert result.returncode == 0, result.stderr


def test_two_processes(root):
    command = [sys.executable, "-c", USE, str(root / "fairseq_lrn")]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]


def test_by_name_after_a_regular_installation(root, tmp_path):
    """fairseq looks for a name beside itself: in the site-packages that both are installed to."""
    site = tmp_path / "site"
    for name in ("fairseq", "fairseq_lrn"):
        (site / name).mkdir(parents=True)
        package = Path(fairseq.__file__).parent if name == "fairseq" else root / name
        for path in package.iterdir():
            (site / name / path.name).symlink_to(path)
    for first in ("", "import fairseq_lrn\n"):
        result = run(first + USE, "fairseq_lrn", path=[site], cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert f"from {site}" in result.stdout.replace("/fairseq/../", "/")


def test_by_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    code = f"import fairseq_lrn\n{USE}"
    result = run(code, tmp_path / "link" / "fairseq_lrn", path=[root])
    assert result.returncode == 0, result.stderr


def test_second_checkout_is_refused(root, tmp_path):
    (tmp_path / "fairseq_lrn").mkdir()
    (tmp_path / "fairseq_lrn" / "__init__.py").touch()
    result = run(f"import fairseq_lrn\n{USE}", tmp_path / "fairseq_lrn", path=[root])
    assert result.returncode != 0
    assert "is not globally unique" in result.stderr


def test_patch_is_idempotent(root):
    record = import_user_module.memo
    patch_user_directory(fairseq_lrn.__path__)
    assert import_user_module.memo is record
    assert str(root / "scripts" / ".." / "fairseq_lrn") in record
    assert str(root / "scripts") not in record
