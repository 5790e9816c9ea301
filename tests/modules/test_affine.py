"""Affine maps with an optional normalisation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq_lrn.modules.affine import NORM_EPS, Affine


def test_without_norm(randomise):
    affine = randomise(Affine(5, [6, 2]))
    x = torch.randn(3, 4, 5)
    torch.testing.assert_close(affine(x), F.linear(x, affine.weight, affine.bias))
    torch.testing.assert_close(affine.normalised_product(x), F.linear(x, affine.weight))


@pytest.mark.parametrize("bias", [False, True])
def test_each_part_is_normalised_separately(norm, bias, randomise):
    affine = randomise(Affine(5, [6, 2], bias=bias, norm=norm))
    x = torch.randn(3, 4, 5)
    parts = F.linear(x, affine.weight).split([6, 2], dim=-1)
    if norm == "layer":
        parts = [
            F.layer_norm(part, part.shape[-1:], norm.weight, norm.bias, NORM_EPS)
            for part, norm in zip(parts, affine.norms)
        ]
    elif norm == "rms":
        parts = [
            part * (part.square().mean(-1, keepdim=True) + NORM_EPS).rsqrt() * norm.weight
            for part, norm in zip(parts, affine.norms)
        ]
    product = torch.cat(list(parts), dim=-1)
    torch.testing.assert_close(affine.normalised_product(x), product)
    torch.testing.assert_close(affine(x), product + affine.bias if bias else product)


def test_a_number_is_a_single_part():
    affine = Affine(5, 8, norm="layer")
    assert affine(torch.randn(2, 5)).shape == (2, 8)
    assert len(affine.norms) == 1 and affine.norms[0].weight.shape == (8,)


def test_shift_is_optional():
    assert Affine(5, 8, norm="layer").norms[0].bias is not None
    assert Affine(5, 8, norm="layer", shift=False).norms[0].bias is None


def test_initial_values():
    """The Xavier bound of a part depends on the width of this part, not on the sum."""
    affine = Affine(100, [300, 20], norm="layer")
    wide, narrow = affine.weight.split([300, 20])
    for part in (wide, narrow):
        bound = math.sqrt(6 / (100 + len(part)))
        assert 0.95 * bound < part.abs().max() <= bound
    assert not affine.bias.any()
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in affine.norms)


def test_a_version_of_torch_without_rms_norm(monkeypatch):
    monkeypatch.delattr(nn, "RMSNorm", raising=False)
    with pytest.raises(
        ValueError, match=r"needs torch 2\.4 or later, not .*: update torch, or use"
    ):
        Affine(5, 8, norm="rms")


def test_unknown_norm():
    with pytest.raises(ValueError, match=r"norm must be one of .*layer.*rms.* not 'batch'"):
        Affine(5, 8, norm="batch")
