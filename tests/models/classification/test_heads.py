"""fairseq's interface of models with classification heads."""

from types import SimpleNamespace

import pytest
import torch

from fairseq_lrn.models.classification.heads import ClassifierConfig, HeadModel, check_single_text
from kernels import needs_rms_norm


def test_heads():
    model = HeadModel(6, dropout=0.0)
    model.register_classification_head("a", num_classes=2)
    model.register_classification_head("b", num_classes=5, inner_dim=7)
    pooled = torch.randn(3, 6)
    assert model.classify(pooled, "a").shape == (3, 2)
    assert model.classify(pooled, "b").shape == (3, 5)
    assert model.classify(pooled, None) is pooled
    assert sorted(model.classification_heads) == ["a", "b"]  # fairseq's criterion looks here


@needs_rms_norm
def test_norm_of_the_logits():
    model = HeadModel(6, dropout=0.0, norm="rms")
    model.register_classification_head("a", num_classes=4)
    logits = model.classify(torch.randn(3, 6), "a")
    torch.testing.assert_close(logits.pow(2).mean(1), torch.ones(3))


def test_single_text():
    check_single_text(SimpleNamespace())
    with pytest.raises(ValueError, match="the data are pairs of texts"):
        check_single_text(SimpleNamespace(num_inputs=2))


def test_bad_options():
    with pytest.raises(ValueError, match="--head-dropout is a probability"):
        ClassifierConfig(head_dropout=1.0).check()
    with pytest.raises(ValueError, match="--pooling-hidden-size must be at least 1"):
        ClassifierConfig(pooling_hidden_size=0).check()
