"""Fixtures for tests of recurrent modules."""

import pytest
import torch
from torch import nn

from kernels import needs_rms_norm


@pytest.fixture(params=[None, "layer", pytest.param("rms", marks=needs_rms_norm)])
def norm(request):
    """A norm of the projections."""
    return request.param


@pytest.fixture
def padding_mask():
    """A padding mask ``6 x 5``: none, right, left, in several places, and nothing but padding."""
    rows = [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], [1] * 6]
    return torch.tensor(rows).bool().t()  # T x B


@pytest.fixture
def gradients():
    """A function: gradients of a module's parameters for a weighted sum of its outputs."""

    def compute(module, *outputs):
        torch.manual_seed(7)
        loss = sum((output * torch.randn_like(output)).sum() for output in outputs)
        return torch.autograd.grad(loss, list(module.parameters()))

    return compute


@pytest.fixture
def randomise():
    """A function that draws all parameters of a module, biases included."""

    def draw(module, std=1.0):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=std)
        return module

    return draw
