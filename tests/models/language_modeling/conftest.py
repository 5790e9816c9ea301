"""Fixtures for tests of language models."""

import pytest
import torch


@pytest.fixture
def text():
    """Tokens ``4 x 25``."""
    torch.manual_seed(3)
    return torch.randint(2, 40, (4, 25))
