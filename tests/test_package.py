"""The package as it is installed and imported: with fairseq, with a broken one, without it."""

import os
import shutil
import subprocess
import sys

import pytest

# Makes every package unimportable that is not part of Python, torch or this package. Packages that
# torch requires are importable.
TORCH_ALONE = """
import sys

ALLOWED = {
    "fairseq_lrn", "torch", "torchgen", "functorch", "filelock", "fsspec", "jinja2", "markupsafe",
    "mpmath", "networkx", "sympy", "typing_extensions", "setuptools", "_distutils_hack",
    "pkg_resources", *sys.stdlib_module_names
}


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if path is None and name.split(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked())
"""
needs_python310 = pytest.mark.skipif(
    sys.version_info < (3, 10), reason="the names of Python's own modules are known from 3.10 on"
)
NEED_FAIRSEQ = [
    *("fairseq_lrn.models", "fairseq_lrn.tasks", "fairseq_lrn.criterions", "fairseq_lrn.optim"),
    *("fairseq_lrn.generation", "fairseq_lrn.data", "fairseq_lrn.data.prepared_text"),
    *("fairseq_lrn.analysis.plots", "fairseq_lrn.demo.translation", "fairseq_lrn.commands.prepare"),
    *("fairseq_lrn.models.translation.lrn_model", "fairseq_lrn.generation.translator"),
]


def run(code, *arguments, path=(), **options):
    """Run Python code in a process of its own, which finds modules in *path* first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


def assert_says_what_to_install(message):
    assert message.startswith("fairseq_lrn needs fairseq for everything except LRN and")
    assert "install fairseq-fixed>=0.12.3.1" in message or "install fairseq>=0.12.2" in message


def test_import_registers_everything(root):
    """fairseq skips the models and tasks of a user directory that was imported before."""
    code = """
import fairseq_lrn
from fairseq import criterions, models, optim, tasks
from fairseq.data import encoders
from fairseq.optim import lr_scheduler
assert {"lrn", "lrn_rnmt", "transformer_lrn"} <= set(models.MODEL_REGISTRY)
assert {"lrn_tiny", "lrn_wmt_en_de"} <= set(models.ARCH_MODEL_REGISTRY)
assert "translation_lrn" in tasks.TASK_REGISTRY
assert "fused_label_smoothed_cross_entropy" in criterions.CRITERION_REGISTRY
assert "torch_adam" in optim.OPTIMIZER_REGISTRY
assert {"gnmt_plus", "inverse_sqrt_cooldown"} <= set(lr_scheduler.LR_SCHEDULER_REGISTRY)
assert "prepared_text" in encoders.BPE_REGISTRY
for name in fairseq_lrn.__all__:
    assert hasattr(fairseq_lrn, name), name
"""
    result = run(code, path=[root])
    assert result.returncode == 0, result.stderr


def test_import_leaves_logging_as_it_is(root):
    code = """
import logging
logging.getLogger("mine").setLevel(logging.INFO)
import fairseq_lrn
assert (logging.root.level, logging.root.handlers) == (logging.WARNING, []), logging.root
assert logging.getLogger("mine").level == logging.INFO
"""
    result = run(code, path=[root])
    assert (result.returncode, result.stderr) == (0, "")


def test_import_is_light(root):
    """Training reads no raw text, and draws and serves nothing. (fairseq may import some of it.)"""
    code = """
import sys
import fairseq.models, fairseq.tasks
loaded = set(sys.modules)
import fairseq_lrn
new = sys.modules.keys() - loaded
print(new & {"flask", "matplotlib", "onnx", "sacremoses", "sentencepiece"})
"""
    assert run(code, path=[root]).stdout.strip() == "set()"


@needs_python310
def test_torch_alone(root, tmp_path):
    code = """
import torch
import fairseq_lrn.modules, fairseq_lrn.ops
from fairseq_lrn import LRN, __version__
x = torch.randn(4, 2, 5, requires_grad=True)
output, state = LRN(5, 6, bidirectional=True)(x)
output.sum().backward()
assert output.shape == (4, 2, 12) and x.grad.abs().sum() > 0
assert fairseq_lrn.ops.lrn_scan(torch.randn(4, 2, 9), torch.zeros(2, 3)).shape == (4, 2, 3)
assert not hasattr(fairseq_lrn, "nonsense")
print("works")
"""
    result = run(TORCH_ALONE + code, path=[root], cwd=tmp_path)
    assert result.stdout == "works\n", result.stderr


@needs_python310
def test_torch_alone_says_what_to_install(root, tmp_path):
    statements = [f"import {name}" for name in NEED_FAIRSEQ]
    statements += [f"from fairseq_lrn import {name}" for name in ("load_translator", "LRNModel")]
    code = """
import fairseq_lrn
for statement in sys.argv[1:]:
    try:
        exec(statement)
    except ImportError as error:
        print(error)
    else:
        print("no error:", statement)
"""
    result = run(TORCH_ALONE + code, *statements, path=[root], cwd=tmp_path)
    messages = result.stdout.splitlines()
    assert len(messages) == len(statements), result.stderr
    for message in messages:
        assert_says_what_to_install(message)
        assert "the module fairseq is not installed" in message


@needs_python310
@pytest.mark.parametrize("arguments", [["translate", "model"], ["--help"], []])
def test_command_with_torch_alone(root, tmp_path, arguments):
    code = "import runpy\nrunpy.run_module('fairseq_lrn', run_name='__main__')"
    result = run(TORCH_ALONE + code, *arguments, path=[root], cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()  # no traceback
    assert_says_what_to_install(line.removeprefix("error: "))


@pytest.mark.parametrize(
    "content, problem",
    [
        (
            "raise ModuleNotFoundError('no numpy', name='numpy')",
            "the module numpy is not installed",
        ),
        ("raise ValueError('mutable default')", "importing it failed: mutable default"),
    ],
)
def test_broken_fairseq(root, tmp_path, content, problem):
    """LRN works; for the rest, the message has the reason."""
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").write_text(content)
    code = "from fairseq_lrn import LRN\nLRN(2, 3)\nimport fairseq_lrn.models"
    result = run(code, path=[tmp_path, root])
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert_says_what_to_install(message.removeprefix("ImportError: "))
    assert problem in message


def test_incomplete_installation(root, tmp_path):
    """fairseq without the packages for raw text: the command names the missing one."""
    (tmp_path / "sentencepiece.py").write_text("raise ModuleNotFoundError(name='sentencepiece')")
    code = "from fairseq_lrn.commands.main import main\nmain(['--help'])"
    result = run(code, path=[tmp_path, root])
    assert result.returncode == 2
    assert result.stderr.startswith("error: the module sentencepiece is not installed: install")


def test_regular_installation(root, tmp_path):
    """Everything that the package reads at run time is installed; so is the command."""
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "fairseq_lrn"):
        (source / name).symlink_to(root / name)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(site), str(source)], check=True, cwd=tmp_path)
    package = root / "fairseq_lrn"
    for path in package.rglob("*"):
        if path.suffix in (".py", ".yaml", ".cpp", ".h", ".html", ".css", ".js"):
            assert (site / "fairseq_lrn" / path.relative_to(package)).is_file(), path
    code = "import fairseq_lrn\nprint(fairseq_lrn.__file__)"
    result = run(code, path=[site], cwd=tmp_path)
    assert result.stdout.startswith(str(site)), result.stderr
    script = site / "bin" / "fairseq-lrn"
    code = "import runpy, sys\nrunpy.run_path(sys.argv.pop(1), run_name='__main__')"
    help_text = run(code, script, "--help", path=[site], cwd=tmp_path).stdout
    for command in ("prepare", "translate", "serve", "average", "score", "plot", "convert"):
        assert f"    {command} " in help_text


def test_installation_without_a_compiler(root, tmp_path):
    """The kernels are optional, whatever prevents their build."""
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
    assert list(tmp_path.glob("build/lib*/fairseq_lrn/ops/lrn_scan/interface.py"))
    assert not list(tmp_path.glob("build/lib*/fairseq_lrn/ops/*.so"))
