"""Dropout with cheap masks."""

import pytest
import torch

from fairseq_lrn.modules.dropout import Dropout, WordDropout, dropout_mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_how_many_are_dropped_and_how_the_others_are_scaled(p):
    torch.manual_seed(1)
    mask = dropout_mask(torch.empty(1001, 333), p)
    dropped = (mask == 0).double().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / mask.numel()) ** 0.5
    assert mask.max() - mask[mask > 0].min() == 0
    assert mask.max().item() == pytest.approx(1 / (1 - p), rel=2e-4)
    assert abs(mask.double().mean().item() - 1) < 0.01


def test_neighbours_are_independent():
    """Four elements share a draw of random bits."""
    torch.manual_seed(1)
    dropped = (dropout_mask(torch.empty(400_000), 0.3).view(-1, 4) == 0).double()
    correlation = torch.corrcoef(dropped.t()) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 0.02


def test_locked_masks_are_the_same_at_every_step():
    dropout = Dropout(0.5, locked=True)
    y = dropout(torch.ones(6, 3, 40))
    assert torch.equal(y, y[:1].expand_as(y))
    assert not torch.equal(y[0, 0], y[0, 1])
    free = Dropout(0.5)(torch.ones(6, 3, 40))
    assert not torch.equal(free[0], free[1])


def test_word_dropout_drops_whole_positions():
    torch.manual_seed(1)
    y = WordDropout(0.5)(torch.ones(60, 30, 8))
    assert torch.equal(y, y[..., :1].expand_as(y))
    assert abs((y[..., 0] == 0).double().mean().item() - 0.5) < 0.06
    assert y.max().item() == pytest.approx(2.0)
    x = torch.ones(60, 30, 8)
    assert WordDropout(0.5).eval()(x) is x


def test_gradient_goes_where_the_values_went():
    x = torch.ones(5, 2, 30, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_evaluation_and_retained_dropout():
    x = torch.ones(5, 2, 30)
    dropout = Dropout(0.4, module_name="Layer").eval()
    assert dropout(x) is x
    dropout.make_generation_fast_("layer", retain_dropout=True)
    assert not torch.equal(dropout(x), x)


def test_the_seed_decides():
    torch.manual_seed(5)
    first = dropout_mask(torch.empty(77), 0.5)
    torch.manual_seed(5)
    assert torch.equal(first, dropout_mask(torch.empty(77), 0.5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types(dtype):
    assert Dropout(0.3)(torch.ones(7, dtype=dtype)).dtype == dtype
