"""Packaging of fairseq_lrn; everything that is not code lives in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "fairseq_lrn" / "__init__.py").read_text(), re.MULTILINE
).group(1)
TEST = ["pytest>=7"]

setup(
    name="fairseq-lrn",
    version=VERSION,
    description="Lightweight recurrent (LRN) translation models for fairseq",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    packages=find_packages(include=["fairseq_lrn", "fairseq_lrn.*"]),
    install_requires=[
        "fairseq>=0.12.2; python_version < '3.11'",
        "fairseq-fixed>=0.12.3.1; python_version >= '3.11'",
        "torch>=2.1",
        "sentencepiece>=0.1.96",
        "sacremoses>=0.0.53",
    ],
    extras_require={
        "test": TEST,
        "dev": [*TEST, "ruff>=0.5"],
        "triton": ["triton>=2.1"],
    },
)
