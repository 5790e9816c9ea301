"""Additive attention against its equation; dot-product attention against fairseq's."""

import pytest
import torch
from fairseq.modules import MultiheadAttention

from fairseq_lrn.modules.attention import AdditiveAttention, DotProductAttention


def test_additive_attention_of_each_head(padding_mask, randomise):
    length, batch, query_size, memory_size = 6, 5, 4, 8
    attention = randomise(AdditiveAttention(query_size, memory_size, num_heads=2))
    query, memory = torch.randn(batch, query_size), torch.randn(length, batch, memory_size)
    context, weights = attention(query, memory, padding_mask.t())
    for head in range(2):
        block = slice(head * memory_size // 2, (head + 1) * memory_size // 2)
        hidden = torch.tanh(
            attention.query_proj(query)[:, block] + attention.key_proj(memory)[..., block]
        )
        scores = attention.score_proj(hidden)[..., 0].masked_fill(padding_mask, -torch.inf)
        scores[:, -1] = 0.0  # nothing but padding: equal weights
        expected = scores.softmax(0)  # S x B
        torch.testing.assert_close(weights[..., head].t(), expected)
        expected_context = (expected.unsqueeze(-1) * memory[..., block]).sum(0)
        torch.testing.assert_close(context[:, block], expected_context)


def test_additive_attention_reads_several_queries():
    attention = AdditiveAttention(4, 8, num_heads=2)
    memory = torch.randn(6, 3, 8)
    weights = torch.rand(5, 3, 6, 2)
    contexts = attention.read(weights, memory)
    for query in range(5):
        single = attention.read(weights[query : query + 1], memory)
        torch.testing.assert_close(contexts[query : query + 1], single)


@pytest.mark.parametrize("attention", [AdditiveAttention, DotProductAttention])
@pytest.mark.parametrize("heads", [0, 3])
def test_heads_must_divide_the_width(attention, heads):
    with pytest.raises(ValueError, match=r"\(8\) must be divisible by the number of .*heads"):
        attention(8, 8, num_heads=heads)


def fairseq_attention(attention, memory_size):
    """fairseq's attention with the same weights."""
    width = attention.out_proj.out_features
    reference = MultiheadAttention(
        width,
        attention.num_heads,
        kdim=memory_size,
        vdim=memory_size,
        encoder_decoder_attention=True,
    )
    reference.load_state_dict(attention.state_dict())
    return reference


@pytest.mark.parametrize("heads, memory_size", [(1, 12), (4, 12), (3, 10)])
@pytest.mark.parametrize("masked", [True, False])
def test_dot_product_attention_equals_fairseq(heads, memory_size, masked):
    attention = DotProductAttention(12, memory_size, heads)
    reference = fairseq_attention(attention, memory_size)
    query = torch.randn(5, 3, 12, requires_grad=True)
    memory = torch.randn(7, 3, memory_size, requires_grad=True)
    mask = None
    if masked:
        mask = torch.zeros(3, 7, dtype=torch.bool)
        mask[0, :2] = mask[2, 3:] = True
    output, weights = attention(query, *attention.project_memory(memory), mask, need_weights=True)
    expected, expected_weights = reference(query, memory, memory, mask, need_weights=True)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-5)
    grads, expected_grads = (
        torch.autograd.grad(result.square().sum(), (query, memory)) for result in (output, expected)
    )
    torch.testing.assert_close(grads, expected_grads, rtol=0, atol=1e-4)
    assert attention(query, *attention.project_memory(memory), mask)[1] is None


@pytest.mark.parametrize("memory_size", [64, 48])
def test_initial_weights_have_the_variance_of_fairseq(memory_size):
    attention = DotProductAttention(64, memory_size, 4)
    reference = MultiheadAttention(
        64, 4, kdim=memory_size, vdim=memory_size, encoder_decoder_attention=True
    )
    for name, weight in reference.state_dict().items():
        if name.endswith("weight"):
            own_weight = attention.state_dict()[name]
            torch.testing.assert_close(own_weight.std(), weight.std(), rtol=0.05, atol=0)


def test_dropout_of_the_attention_weights():
    attention = DotProductAttention(8, 8, 2, dropout=0.999999)
    memory = attention.project_memory(torch.randn(4, 3, 8))
    output, _ = attention(torch.randn(2, 3, 8), *memory)
    torch.testing.assert_close(output, attention.out_proj.bias.expand(2, 3, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_memory_of_nothing_but_padding_gives_finite_values(dtype):
    memory = torch.randn(4, 1, 8, dtype=dtype)
    mask = torch.ones(1, 4, dtype=torch.bool)
    dot_product = DotProductAttention(8, 8, 2).to(dtype)
    query = torch.randn(2, 1, 8, dtype=dtype)
    output, _ = dot_product(query, *dot_product.project_memory(memory), mask)
    assert output.isfinite().all()
    context, _ = AdditiveAttention(8, 8, 2).to(dtype)(query[0], memory, mask)
    assert context.isfinite().all()
