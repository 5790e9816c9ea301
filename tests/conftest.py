"""Shared fixtures."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def multi30k() -> Path:
    """Raw Multi30k English-German, which lies beside the checkout where it is available."""
    directory = ROOT.parent / "shared" / "data" / "multi30k"
    if not (directory / "train.en").is_file():
        pytest.skip(f"Multi30k is not at {directory}")
    return directory
