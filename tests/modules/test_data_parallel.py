"""Wrappers of data-parallel training."""

import pytest
from torch import nn

from fairseq_lrn.modules.data_parallel import seem_unused, unwrapped


class Wrapper(nn.Module):
    """Holds a model as torch's DistributedDataParallel does."""

    def __init__(self, module, find_unused_parameters=False):
        super().__init__()
        self.module, self.find_unused_parameters = module, find_unused_parameters


@pytest.fixture
def model():
    return nn.ModuleDict({"embedding": nn.Embedding(5, 4), "output": nn.Linear(4, 5, bias=False)})


def test_unwrapped(model):
    assert unwrapped(model) is model
    assert unwrapped(Wrapper(Wrapper(model))) is model


def test_parameters_that_only_a_loss_uses(model):
    output = list(model["output"].parameters())
    assert not seem_unused(model, output) and not seem_unused(Wrapper(model), output)
    wrapped = Wrapper(Wrapper(model, find_unused_parameters=True))
    assert seem_unused(wrapped, output)
    model["output"].weight.requires_grad_(False)
    assert not seem_unused(wrapped, output)


def test_a_shared_parameter_is_used(model):
    model["output"].weight = model["embedding"].weight
    assert not seem_unused(Wrapper(model, True), model["output"].parameters())
