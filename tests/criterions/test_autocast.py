"""The option --autocast; its effect on training is in end_to_end/test_half_precision.py."""

import pytest
import torch
from torch import nn

from fairseq_lrn.criterions.autocast import checked_autocast, training_precision

CPU = torch.device("cpu")


def dtype_inside(autocast, model):
    with training_precision(autocast, model, CPU):
        return model(torch.ones(2, 3)).dtype


def test_in_training_only():
    model = nn.Linear(3, 4)
    assert dtype_inside(checked_autocast("bfloat16"), model) == torch.bfloat16
    assert dtype_inside(checked_autocast("none"), model) == torch.float32
    assert dtype_inside("bfloat16", model.eval()) == torch.float32


def test_refused():
    with pytest.raises(ValueError, match="--autocast must be one of .* not float8"):
        checked_autocast("float8")
    with pytest.raises(ValueError, match="--autocast bfloat16 conflicts with --fp16"):
        training_precision("bfloat16", nn.Linear(3, 4).half(), CPU)
