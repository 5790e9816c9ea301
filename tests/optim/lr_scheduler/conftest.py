"""An optimiser for schedules to set the learning rate of."""

import pytest
import torch
from fairseq.optim import FairseqOptimizer


@pytest.fixture
def optimizer():
    """A function that builds an optimiser with the learning rate 99."""

    class Optimizer(FairseqOptimizer):
        def __init__(self):
            super().__init__(None)
            self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=99.0)

    return Optimizer
