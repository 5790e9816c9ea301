"""fairseq_lrn as a user directory: by path, by name, twice, from two processes, without fairseq."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fairseq
import pytest

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
def test_import_and_user_dir(root, first):
    code = f"{first}\n{USE}\nutils.import_user_module(Namespace(user_dir=sys.argv[1]))"
    result = run(code, root / "fairseq_lrn", path=[root])
    assert result.returncode == 0, result.stderr


def test_two_processes(root):
    command = [sys.executable, "-c", USE, str(root / "fairseq_lrn")]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]


def test_by_name_after_a_regular_install(root, tmp_path):
    """fairseq looks for a name beside itself: in the site-packages that both are installed to."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "fairseq_lrn"):
        (source / name).symlink_to(root / name)
    subprocess.run([*install, "--target", str(site), str(source)], check=True, cwd=tmp_path)
    (site / "fairseq").mkdir()
    for path in Path(fairseq.__file__).parent.iterdir():
        (site / "fairseq" / path.name).symlink_to(path)
    for first in ("", "import fairseq_lrn\n"):
        result = run(first + USE, "fairseq_lrn", path=[site], cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert f"from {site}" in result.stdout.replace("/fairseq/../", "/")


def test_installing_does_without_a_compiler(root, tmp_path):
    """The kernels are optional, whatever it is that cannot build them."""
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(root / name, tmp_path)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(root / "fairseq_lrn", tmp_path / "fairseq_lrn", ignore=ignored)
    result = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build"],
        env={**os.environ, "CC": "no-such-compiler", "CXX": "no-such-compiler"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.glob("build/lib*/fairseq_lrn/ops/scan.py"))
    assert not list(tmp_path.glob("build/lib*/fairseq_lrn/ops/*.so"))


def test_import_and_user_dir_by_a_link(root, tmp_path):
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


@pytest.mark.parametrize(
    "content, problem",
    [
        ("raise ModuleNotFoundError('no fairseq', name='fairseq')", "fairseq is not installed"),
        ("raise ValueError('mutable default')", "importing it failed: mutable default"),
    ],
)
def test_without_a_working_fairseq(root, tmp_path, content, problem):
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").write_text(content)
    result = run("import fairseq_lrn", path=[tmp_path, root])
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: fairseq_lrn needs fairseq")
    assert problem in message
    assert "install fairseq-fixed>=0.12.3.1" in message or "install fairseq>=0.12.2" in message


def test_ops_and_modules_do_not_import_upwards(root):
    """models -> modules -> ops, never back; ops know nothing of fairseq."""
    forbidden = {
        "ops": ("import fairseq\n", "from fairseq ", "from fairseq.", "fairseq_lrn.mod"),
        "modules": ("fairseq_lrn.models",),
    }
    for package, words in forbidden.items():
        for path in (root / "fairseq_lrn" / package).rglob("*.py"):
            found = [word for word in words if word in path.read_text()]
            assert not found, f"{path}: {found}"
