"""Gated attention agrees with a derivation in numpy, at any padding and any length."""

import numpy as np
import pytest
import torch

from fairseq_lrn.modules import gated_attention
from fairseq_lrn.modules.gated_attention import GatedAttention


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def expected(module, x, memory):
    """The output ``T x (C + M)`` for one text ``T x C`` and a memory ``S x M``."""
    maps = (module.input_map, module.memory_map, module.gate)
    w_x, w_m, w_g = (one.weight.detach().numpy() for one in maps)
    query, key = np.maximum(x @ w_x.T, 0), np.maximum(memory @ w_m.T, 0)
    weights = softmax(query @ key.T / np.sqrt(len(w_x)))
    both = np.concatenate([x, weights @ memory], axis=1)
    return both / (1 + np.exp(-both @ w_g.T))


@pytest.fixture
def module():
    torch.manual_seed(1)
    return GatedAttention(6, 4, 5).double().eval()


def test_numpy(module):
    x, memory = torch.randn(7, 2, 6).double(), torch.randn(3, 2, 4).double()
    found = module(x, memory, torch.zeros(3, 2, dtype=torch.bool))
    for row in range(2):
        wanted = expected(module, x[:, row].numpy(), memory[:, row].numpy())
        np.testing.assert_allclose(found[:, row].detach().numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("left", (False, True))
def test_padding_of_the_memory(module, left):
    x, memory = torch.randn(7, 1, 6).double(), torch.randn(3, 1, 4).double()
    wanted = module(x, memory, torch.zeros(3, 1, dtype=torch.bool))
    filler = torch.full((2, 1, 4), 9.0).double()
    padded = torch.cat([filler, memory] if left else [memory, filler])
    mask = padded[..., 0] == 9.0  # S x B
    torch.testing.assert_close(module(x, padded, mask), wanted)


def test_long_texts_take_a_part_of_the_rows_at_a_time(module, monkeypatch):
    x = torch.randn(11, 2, 6).double()
    memory = torch.randn(3, 2, 4).double()
    mask = torch.zeros(3, 2, dtype=torch.bool)
    wanted = module(x, memory, mask)
    monkeypatch.setattr(gated_attention, "CHUNK", 4)
    torch.testing.assert_close(module(x, memory, mask), wanted)


def test_a_memory_without_words_gives_numbers(module):
    x, memory = torch.randn(2, 1, 6).double(), torch.randn(3, 1, 4).double()
    assert module(x, memory, torch.ones(3, 1, dtype=torch.bool)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(module, dtype):
    x, memory = torch.randn(7, 2, 6), torch.randn(3, 2, 4)
    mask = torch.tensor([[False, False], [False, True], [False, True]])
    expected = module.float()(x, memory, mask)
    found = module.to(dtype)(x.to(dtype), memory.to(dtype), mask)
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_gradient(module):
    x = torch.randn(3, 1, 6).double().requires_grad_()
    memory = torch.randn(2, 1, 4).double().requires_grad_()
    mask = torch.tensor([[False], [True]])
    assert torch.autograd.gradcheck(lambda *both: module(*both, mask), (x, memory))


def test_dropout_is_active_in_training_only():
    module = GatedAttention(6, 6, 5, dropout=0.5, locked_dropout=True)
    x, mask = torch.randn(4, 2, 6), torch.zeros(4, 2, dtype=torch.bool)
    assert not torch.equal(module(x, x, mask), module(x, x, mask))
    module.eval()
    assert torch.equal(module(x, x, mask), module(x, x, mask))
