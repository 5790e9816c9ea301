"""The exponential moving average of a model with buffers that have no mean."""

import pytest
import torch
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema.ema import EMA
from torch import nn

from fairseq_lrn.compat.averaged_buffers import patch_averaged_buffers


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("flags", torch.tensor([False, False]))


@pytest.mark.parametrize("in_float32", [False, True])
def test_step(in_float32):
    patch_averaged_buffers()  # applied already
    model = Model()
    average = EMA(model, EMAConfig(ema_decay=0.75, ema_fp32=in_float32), skip_keys={"x"})
    assert average.skip_keys == {"count", "flags", "x"}
    with torch.no_grad():
        model.weight.fill_(4.0)
    model.count += 1
    model.flags[1] = True
    average.step(model)
    found = average.get_model()
    assert found.weight.tolist() == [1.0, 1.0]
    assert found.count == 4 and found.flags.tolist() == [False, True]
