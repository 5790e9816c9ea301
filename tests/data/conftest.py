"""A copy of prepared data."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def data(prepared_data, tmp_path) -> Path:
    """Prepared data that a test may change."""
    return Path(shutil.copytree(prepared_data, tmp_path / "data"))
