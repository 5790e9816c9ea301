"""Dropout with masks that are cheap on a CPU."""

import logging

import pytest
import torch

from fairseq_lrn.modules.dropout import Dropout, TypeDropout, WordDropout, dropout_mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_scale(p):
    mask = dropout_mask(torch.empty(1001, 333), p)
    dropped = (mask == 0).double().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / mask.numel()) ** 0.5
    assert mask[mask > 0].unique().numel() == 1
    assert mask.max().item() == pytest.approx(1 / (1 - p), rel=2e-4)
    assert abs(mask.double().mean().item() - 1) < 0.01


def test_elements_of_one_draw_are_independent():
    """Four elements share a draw of random bits."""
    dropped = (dropout_mask(torch.empty(400_000), 0.3).view(-1, 4) == 0).double()
    correlation = torch.corrcoef(dropped.t()) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 0.02


def test_locked_dropout_has_one_mask_for_all_steps():
    y = Dropout(0.5, locked=True)(torch.ones(6, 3, 40))
    assert torch.equal(y, y[:1].expand_as(y))
    assert not torch.equal(y[0, 0], y[0, 1])
    unlocked = Dropout(0.5)(torch.ones(6, 3, 40))
    assert not torch.equal(unlocked[0], unlocked[1])


def test_word_dropout_drops_whole_positions():
    x = torch.ones(60, 30, 8)
    y = WordDropout(0.5)(x)
    assert torch.equal(y, y[..., :1].expand_as(y))
    assert abs((y[..., 0] == 0).double().mean().item() - 0.5) < 0.06
    assert y.max().item() == pytest.approx(2.0)
    assert WordDropout(0.5).eval()(x) is x


def test_the_gradient_has_the_same_mask():
    x = torch.ones(5, 2, 30, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_is_for_training():
    x = torch.ones(5, 2, 30)
    assert not torch.equal(Dropout(0.4)(x), x)
    assert Dropout(0.4).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize(
    "options, is_active",
    [
        ({}, False),
        ({"retain_dropout": True}, True),
        ({"retain_dropout": True, "retain_dropout_modules": ["Layer"]}, True),
        ({"retain_dropout": True, "retain_dropout_modules": ["Decoder"]}, False),
        ({"retain_dropout_modules": ["Layer"]}, False),
    ],
)
def test_retained_dropout(options, is_active):
    x = torch.ones(5, 2, 30)
    dropout = Dropout(0.4, module_name="Layer").eval()
    dropout.make_generation_fast_("decoder.layers.0", **options)
    assert torch.equal(dropout(x), x) != is_active


def test_dropout_without_a_name_cannot_be_selected(caplog):
    dropout = Dropout(0.4).eval()
    with caplog.at_level(logging.WARNING):
        dropout.make_generation_fast_(
            "decoder.dropout", retain_dropout=True, retain_dropout_modules=["Layer"]
        )
    assert "cannot retain dropout in decoder.dropout: the module has no module_name" in caplog.text
    assert not dropout.apply_during_inference


def test_the_seed_decides():
    masks = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        masks.append(dropout_mask(torch.empty(77), 0.5))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types(dtype):
    assert Dropout(0.3)(torch.ones(7, dtype=dtype)).dtype == dtype


def test_torchscript():
    scripted = torch.jit.script(Dropout(0.5, locked=True))
    y = scripted(torch.ones(6, 3, 40))
    assert torch.equal(y, y[:1].expand_as(y)) and {0.0, 2.0} == set(y.flatten().tolist())
    assert torch.equal(scripted.eval()(torch.ones(2, 2, 2)), torch.ones(2, 2, 2))


def test_type_dropout():
    """All occurrences of a type are dropped, or none."""
    tokens = torch.randint(20, (9, 30))
    dropout = TypeDropout(0.4)
    y = dropout(torch.ones(9, 30, 5), tokens, 20)
    for kind in range(20):
        values = y[tokens == kind]
        assert (values == 0).all() or (values > 1).all()
    kept = [bool((y[tokens == kind] > 0).all()) for kind in range(20)]
    assert 4 < sum(kept) < 20
    assert torch.equal(dropout.eval()(y, tokens, 20), y)


def test_type_dropout_is_dropout_of_the_embedding_matrix():
    tokens, table = torch.randint(20, (9, 4)), torch.randn(20, 5)
    torch.manual_seed(3)
    found = TypeDropout(0.4)(table[tokens], tokens, 20)
    torch.manual_seed(3)
    mask = dropout_mask(torch.empty(20), 0.4)
    assert torch.equal(found, (table * mask.unsqueeze(1))[tokens])


def test_everything_is_dropped_with_probability_1():
    assert dropout_mask(torch.ones(70000), 1.0).count_nonzero() == 0


def test_different_masks_under_vmap():
    x = torch.ones(400)
    run = torch.vmap(lambda w: Dropout(0.5)(x) * w, randomness="different")
    one, other = run(torch.ones(2))
    assert set(one.unique().tolist()) == {0.0, 2.0} and not torch.equal(one, other)
