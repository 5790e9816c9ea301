"""Dot-product attention against fairseq's."""

import pytest
import torch
from fairseq.modules import MultiheadAttention

from fairseq_lrn.modules.attention import DotProductAttention


@pytest.mark.parametrize("heads, memory_size", [(1, 12), (4, 12), (3, 10)])
@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_fairseqs(heads, memory_size, masked):
    ours = DotProductAttention(12, memory_size, heads)
    theirs = MultiheadAttention(
        12, heads, kdim=memory_size, vdim=memory_size, encoder_decoder_attention=True
    )
    theirs.load_state_dict(ours.state_dict())
    query = torch.randn(5, 3, 12, requires_grad=True)
    memory = torch.randn(7, 3, memory_size, requires_grad=True)
    mask = None
    if masked:
        mask = torch.zeros(3, 7, dtype=torch.bool)
        mask[0, :2] = mask[2, 3:] = True
    out, weights = ours(query, *ours.project_memory(memory), mask, need_weights=True)
    expected, expected_weights = theirs(query, memory, memory, mask, need_weights=True)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-5)
    grads, expected_grads = (
        torch.autograd.grad(one.square().sum(), (query, memory)) for one in (out, expected)
    )
    torch.testing.assert_close(grads, expected_grads, rtol=0, atol=1e-4)
    assert ours(query, *ours.project_memory(memory), mask)[1] is None


def test_begins_as_fairseqs():
    """Weights of the same spread."""
    for memory_size in (64, 48):
        ours = DotProductAttention(64, memory_size, 4)
        theirs = MultiheadAttention(
            64, 4, kdim=memory_size, vdim=memory_size, encoder_decoder_attention=True
        )
        for name, weight in ours.state_dict().items():
            if name.endswith("weight"):
                spread = theirs.state_dict()[name].std()
                torch.testing.assert_close(weight.std(), spread, rtol=0.05, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_memory_of_padding_alone_gives_numbers(dtype):
    attention = DotProductAttention(8, 8, 2).to(dtype)
    memory = torch.randn(4, 1, 8, dtype=dtype)
    mask = torch.ones(1, 4, dtype=torch.bool)
    out, _ = attention(torch.randn(2, 1, 8, dtype=dtype), *attention.project_memory(memory), mask)
    assert out.isfinite().all()
