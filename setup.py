"""Packaging of fairseq_lrn. pyproject.toml has the configuration of the build and of the tools."""

import os
import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.errors import CompileError

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "fairseq_lrn" / "__init__.py").read_text(), re.MULTILINE
).group(1)
TRITON = "triton>=3.0; platform_system == 'Linux'"
ONNX = ["onnx>=1.17; python_version >= '3.10'", "onnxscript>=0.5; python_version >= '3.10'"]
DEMO = ["flask>=3", "matplotlib>=3.5", "waitress>=3"]
DOCS = ["furo>=2024.1", "myst-parser>=2", "sphinx>=7"]
TEST = [
    *DEMO,
    *(
        "axe-playwright-python>=0.1.4",
        "hypothesis>=6.100",
        "pytorch-crf>=0.7.2",
        "seqeval>=1.2.2",
        "playwright>=1.40",
        "pytest>=7,<9",
        "pytest-timeout>=2.2",
        "pytest-xdist>=3",
        "torchmetrics>=1",
    ),
    *(*ONNX, "onnxruntime>=1.20; python_version >= '3.10'", "tensorboardX>=2.6"),
    # On older Pythons, fairseq 0.12.2 runs with an older torch, which needs an older Triton.
    TRITON + " and python_version >= '3.11'",
]


def fused_kernel() -> dict:
    """Arguments of setup() that build the C++ kernels, if this environment has torch.

    The build is optional: kernels that are not built here are built on first use.
    """
    if os.environ.get("FAIRSEQ_LRN_BUILD") == "0":
        return {}
    try:
        import torch.utils.cpp_extension
    except (ImportError, OSError):  # for example in an isolated build
        return {}
    ops = Path("fairseq_lrn", "ops")
    module = runpy.run_path(str(ROOT / ops / "build.py"))
    if module["torch_is_too_old"]():
        return {}

    class BuildOnce(torch.utils.cpp_extension.BuildExtension):
        """Copies the library if it is already built in the checkout.

        An editable installation would otherwise compile it each time.
        """

        def build_extension(self, ext):
            target = Path(self.get_ext_fullpath(ext.name))
            if target.parent.resolve() != (ROOT / ops).resolve():
                # Libraries of other versions of the sources must not be packaged. The library's
                # name once began with _lrn_scan_.
                for pattern in (f"{module['LIBRARY_PREFIX']}*", "_lrn_scan_*"):
                    for stale in set(target.parent.glob(pattern)) - {target}:
                        stale.unlink()
            built = ROOT / ops / target.name
            if not built.exists():
                try:
                    super().build_extension(ext)
                except RuntimeError as error:  # ninja's error, which "optional" does not handle
                    raise CompileError(str(error)) from error
            elif target.resolve() != built.resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(built, target)

    return {
        "ext_modules": [module["extension"](ops, package="fairseq_lrn.ops.")],
        "cmdclass": {"build_ext": BuildOnce},
    }


setup(
    name="fairseq-lrn",
    version=VERSION,
    description="Lightweight recurrent networks (LRN) for PyTorch and fairseq",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    packages=find_packages(include=["fairseq_lrn", "fairseq_lrn.*"]),
    package_data={
        "fairseq_lrn": ["config/*.yaml"],
        "fairseq_lrn.demo": ["static/*"],
        "fairseq_lrn.ops": ["csrc/*/*"],
    },
    entry_points={"console_scripts": ["fairseq-lrn=fairseq_lrn.commands.main:main"]},
    install_requires=[
        "fairseq>=0.12.2; python_version < '3.11'",
        "fairseq-fixed>=0.12.3.1; python_version >= '3.11'",
        "setuptools",  # torch builds the C++ kernels with it
        "torch>=2.1",
        "protobuf",  # the format of sentencepiece's models
        "sentencepiece>=0.1.96",
        "sacremoses>=0.0.53",
    ],
    extras_require={
        "test": TEST,
        "dev": [*TEST, *DOCS, "mypy>=1.10", "ruff>=0.5"],
        "benchmark": ["ctranslate2>=4", "matplotlib>=3.5", "sru>=2.6"],
        "demo": DEMO,
        "docs": DOCS,
        "onnx": ONNX,
        "triton": [TRITON],
    },
    **fused_kernel(),
)
