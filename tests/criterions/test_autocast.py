"""The option --autocast; its effect on training is in end_to_end/test_half_precision.py."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fairseq_lrn.criterions import SequenceTaggingCriterion, SpanPredictionCriterion
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


class Recorder(torch.nn.Module):
    """Notes the type of matrix products, and returns what a reader or a tagger returns."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 2))

    def forward(self, source, target=None):
        self.dtype = (source @ self.weight).dtype
        if target is None:
            return source * self.weight, source * self.weight
        padding = torch.zeros(2, 2, dtype=torch.bool)
        return self.weight, {"nll": self.weight.sum(1), "padding_mask": padding}


@pytest.mark.parametrize(
    "build",
    [
        lambda task, autocast: SpanPredictionCriterion(task, autocast),
        lambda task, autocast: SequenceTaggingCriterion(task, False, autocast),
    ],
)
def test_losses_of_labelled_text(build):
    task = SimpleNamespace(target_dictionary=None)
    target = torch.tensor([[0, 1], [1, 1]])
    net_input = {"source": torch.ones(2, 2)}
    sample = {"net_input": net_input, "target": target, "ntokens": 4, "nsentences": 2}
    model = Recorder()
    for autocast, dtype in (("bfloat16", torch.bfloat16), ("none", torch.float32)):
        loss, *_ = build(task, autocast)(model, sample)
        assert model.dtype == dtype and loss.dtype == torch.float32
    with pytest.raises(ValueError, match="--autocast must be one of"):
        build(task, "float8")


def test_validation_of_readers_in_float32():
    model = Recorder().eval()
    target = torch.tensor([[0, 1], [1, 1]])
    sample = {"net_input": {"source": torch.ones(2, 2)}, "target": target}
    sample.update(ntokens=4, nsentences=2)
    criterion = SpanPredictionCriterion(SimpleNamespace(target_dictionary=None), "bfloat16")
    criterion(model, sample)
    assert model.dtype == torch.float32
