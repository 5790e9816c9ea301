"""Additive attention in one operator against the module that defines it."""

import pytest
import torch

from fairseq_lrn.modules.attention import AdditiveAttention
from fairseq_lrn.ops import additive_attention, has_additive_attention
from kernels import needs_cpp


def operands(hypotheses, sentences=3, length=5, width=24, heads=4, masked=True):
    torch.manual_seed(1)
    module = AdditiveAttention(10, width, heads)
    query = torch.randn(hypotheses * sentences, 10)
    memory = torch.randn(length, sentences, width)
    mask = torch.zeros(sentences, length, dtype=torch.bool)
    if masked:
        mask[1, -2:] = True
    keys = module.keys(memory)
    return module, query, keys, memory, module.score_bias(keys, mask if masked else None)


@needs_cpp
@torch.no_grad()
@pytest.mark.parametrize("hypotheses, masked", [(1, True), (4, True), (4, False)])
@pytest.mark.parametrize("width, heads", [(24, 4), (52, 1), (64, 2), (6, 6)])
def test_agrees_with_the_module(monkeypatch, hypotheses, masked, width, heads):
    module, query, keys, memory, bias = operands(
        hypotheses, width=width, heads=heads, masked=masked
    )
    context, weights = module.attend(query, keys, memory, bias)
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
    expected_context, expected_weights = module.attend(query, keys, memory, bias)
    torch.testing.assert_close(context, expected_context, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-5, atol=1e-6)
    assert bool(weights[1::3, -2:].any()) != masked  # padding


@needs_cpp
def test_strided_keys_and_memory():
    module, query, keys, memory, bias = operands(2)
    arguments = (module.query_proj(query), keys, memory, module.score_proj.weight[0], bias[..., 0])
    expected = torch.ops.fairseq_lrn.additive_attention(*arguments, 4)
    strided = keys.transpose(0, 1).contiguous().transpose(0, 1)
    wide = torch.cat([memory, memory], dim=2)[..., :24]
    found = additive_attention(arguments[0], strided, wide, *arguments[3:], 4)
    for ours, theirs in zip(found, expected):
        assert torch.equal(ours, theirs)


@needs_cpp
def test_wrong_shapes():
    module, query, keys, memory, bias = operands(1)
    good = [module.query_proj(query), keys, memory, module.score_proj.weight[0], bias[..., 0]]
    wrong = [good[0][:2], keys.double(), memory[1:], memory[0, 0], bias[:, 1:, 0]]
    for index, tensor in enumerate(wrong):
        with pytest.raises(RuntimeError, match="must be|needs float32|the number of queries"):
            additive_attention(*good[:index], tensor, *good[index + 1 :], 4)
    with pytest.raises(RuntimeError, match="the heads must divide M"):
        additive_attention(*good, 5)


@torch.no_grad()
def test_autocast():
    """The query is in bfloat16 then, and the operator does not take it."""
    module, query, keys, memory, bias = operands(2)
    with torch.autocast("cpu", torch.bfloat16):
        context, _ = module.attend(query, keys, memory, bias)
    expected, _ = module.attend(query, keys, memory, bias)
    torch.testing.assert_close(context.float(), expected, rtol=0.05, atol=0.05)


def test_where_it_works(monkeypatch):
    assert not has_additive_attention(torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16))
    assert not has_additive_attention(torch.zeros(1, dtype=torch.float64))
    assert not has_additive_attention(torch.zeros(1, dtype=torch.bfloat16))
    assert not has_additive_attention(torch.zeros(1, device="meta"))
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
    assert not has_additive_attention(torch.zeros(1))
