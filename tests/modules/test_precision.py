"""The data type of matrix products during generation."""

import pytest
import torch
from torch import nn

from fairseq_lrn.modules import precision
from fairseq_lrn.modules.linear import Linear, can_pack
from fairseq_lrn.modules.precision import MATMUL_DTYPES, REQUIREMENTS, set_matmul_dtype

FEWER_BITS = [name for name in MATMUL_DTYPES if name != "float32"]
each_reduced_type = pytest.mark.parametrize("name", FEWER_BITS)


@pytest.fixture
def model():
    return nn.Sequential(Linear(64, 64), nn.ReLU(), Linear(64, 32)).eval()


@pytest.fixture
def every_type_is_supported(monkeypatch):
    """As on a processor that supports all types."""
    monkeypatch.setattr(precision, "can_pack", lambda dtype: True)


def product(model):
    torch.manual_seed(1)
    with torch.no_grad():
        return model(torch.randn(3, 64))


@each_reduced_type
def test_a_reduced_type_and_back(model, name):
    if not can_pack(getattr(torch, name)):
        pytest.skip(f"no products in {name}: {REQUIREMENTS[name]}")
    exact = product(model)
    assert set_matmul_dtype([model], name) == ""
    rounded = product(model)
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert set_matmul_dtype([model], "float32") == ""
    torch.testing.assert_close(product(model), exact)


@each_reduced_type
def test_a_type_that_this_processor_does_not_support(model, name, monkeypatch):
    monkeypatch.setattr(precision, "can_pack", lambda dtype: False)
    exact = product(model)
    assert set_matmul_dtype([model], name) == REQUIREMENTS[name]
    assert torch.equal(product(model), exact)


@each_reduced_type
def test_other_devices(model, name, every_type_is_supported):
    reason = set_matmul_dtype([model.to("meta")], name)
    assert reason == "only CPUs support it (on a GPU, fairseq-generate has --fp16)"


@each_reduced_type
def test_other_models(name, every_type_is_supported):
    reason = set_matmul_dtype([nn.Linear(4, 4)], name)
    assert reason == "only models of fairseq_lrn support it"


def test_8_bits_of_other_weights(model, every_type_is_supported):
    assert set_matmul_dtype([model.double()], "int8") == "it needs float32 weights"


def test_an_unavailable_type_ends_an_earlier_one(model, monkeypatch):
    available = [name for name in FEWER_BITS if can_pack(getattr(torch, name))]
    if not available:
        pytest.skip("this processor supports no reduced type")
    exact = product(model)
    set_matmul_dtype([model], available[0])
    monkeypatch.setattr(precision, "can_pack", lambda dtype: False)
    assert set_matmul_dtype([model], "bfloat16") != ""
    torch.testing.assert_close(product(model), exact)


def test_weights_that_are_not_finite(model):
    if not can_pack(torch.int8):
        pytest.skip(REQUIREMENTS["int8"])
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        set_matmul_dtype([model], "int8")


def test_an_unknown_type(model):
    with pytest.raises(ValueError, match=r"must be one of .*bfloat16.* not 'float8'"):
        set_matmul_dtype([model], "float8")
