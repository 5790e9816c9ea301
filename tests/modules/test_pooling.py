"""Pooling of sequences, against its definition in numpy."""

import numpy as np
import pytest
import torch

from fairseq_lrn.modules.pooling import POOLINGS, AttentivePooling, build_pooling

LENGTHS = [5, 3, 1, 0]


def masks(left):
    """Padding ``T x B`` after or before the sequences."""
    steps = torch.arange(5).unsqueeze(1)
    lengths = torch.tensor(LENGTHS)
    return steps < 5 - lengths if left else steps >= lengths


def build(kind, query_size=None, **options):
    torch.manual_seed(1)
    return build_pooling(kind, 6, hidden_size=4, query_size=query_size, **options)


def sequence(row):
    return torch.randn(LENGTHS[row], 6, generator=torch.Generator().manual_seed(row))


def batch(left):
    x = torch.full((5, 4, 6), 99.0)  # at padding anything
    for row, length in enumerate(LENGTHS):
        x[slice(5 - length, 5) if left else slice(0, length), row] = sequence(row)
    return x


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("has_query", [False, True])
def test_alone_and_padded(kind, left, has_query):
    module = build(kind, 3 if has_query else None)
    query = torch.randn(4, 3) if has_query else None
    x = batch(left).requires_grad_()
    pooled, weights = module(x, masks(left), query)
    assert bool((pooled[3] == 0).all())
    for row in range(3):
        one = None if query is None else query[row : row + 1]
        alone, of_alone = module(sequence(row).unsqueeze(1), None, one)
        torch.testing.assert_close(alone[0], pooled[row])
        if weights is not None:
            found = weights[row][~masks(left)[:, row]]
            torch.testing.assert_close(found, of_alone[0])
            torch.testing.assert_close(weights[row].sum(), torch.tensor(1.0))
    pooled.sum().backward()
    assert torch.isfinite(x.grad).all() and bool((x.grad[masks(left)] == 0).all())


@pytest.mark.parametrize("has_query", [False, True])
def test_attention_in_numpy(has_query):
    module = build("attention", 3 if has_query else None)
    x, query = torch.randn(5, 2, 6), torch.randn(2, 3)
    pooled, weights = module(x, None, query if has_query else None)

    def apply(linear, value):
        return value @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()

    for row in range(2):
        hidden = apply(module.input_map, x[:, row].numpy())
        if has_query:
            hidden = hidden + apply(module.query_map, query[row].numpy())
        scores = np.tanh(hidden) @ module.score.weight.detach().numpy()[0]
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[row].detach(), expected, rtol=1e-4)
        np.testing.assert_allclose(
            pooled[row].detach(), expected @ x[:, row].numpy(), rtol=1e-4, atol=1e-5
        )


def test_mean_and_maximum():
    x = batch(False)
    mean, weights = build("mean")(x, masks(False))
    torch.testing.assert_close(mean[1], sequence(1).mean(0))
    assert weights[1].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0])
    largest, nothing = build("max")(x, masks(False))
    assert nothing is None and torch.equal(largest[1], sequence(1).amax(0))


def test_dropout():
    """The input is dropped before it is scored and summed, and the query at each position."""
    module = build("attention", 3, dropout=0.5).train()
    x, query = torch.ones(5, 1, 6), torch.ones(1, 3)
    first, second = module(x, None, query)[0], module(x, None, query)[0]
    assert not torch.equal(first, second)
    module.eval()
    torch.testing.assert_close(module(x, None, query)[0], torch.ones(1, 6))


def test_parameters_of_the_papers_document_model():
    module = AttentivePooling(128, 64, query_size=128)
    assert sum(p.numel() for p in module.parameters()) == 2 * (128 * 64 + 64) + 64


def test_no_positions():
    for kind in POOLINGS:
        assert build(kind)(torch.zeros(0, 2, 6))[0].tolist() == 2 * [6 * [0.0]]


def test_query_is_missing():
    with pytest.raises(ValueError, match="query is missing"):
        build("attention", 3)(torch.zeros(5, 2, 6))


def test_initialisation():
    module = AttentivePooling(128, 64, query_size=32)
    for linear in (module.input_map, module.query_map, module.score):
        limit = (6 / sum(linear.weight.shape)) ** 0.5
        assert 0.9 * limit < linear.weight.abs().max() <= limit
        assert linear.bias is None or not linear.bias.any()
    assert module.score.bias is None


def test_unknown_pooling():
    with pytest.raises(ValueError, match="pooling must be one of .*, not 'last'"):
        build("last")
