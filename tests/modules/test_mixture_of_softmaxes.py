"""The mixture of softmaxes, against its equations in numpy."""

import numpy as np
import pytest
import torch

from fairseq_lrn.modules import mixture_of_softmaxes
from fairseq_lrn.modules.mixture_of_softmaxes import MixtureOfSoftmaxes

T, B, M, E, K, V = 4, 3, 5, 6, 3, 11


@pytest.fixture
def given():
    torch.manual_seed(2)
    mixture = MixtureOfSoftmaxes(M, E, K).double()
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter)
    return (
        mixture,
        torch.randn(T, B, M).double(),
        torch.randn(V, E).double(),
        torch.randn(V).double(),
    )


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def in_numpy(prior, latent, latent_bias, x, table, bias):
    """Log-probabilities of one position, with loops over the softmaxes."""
    weights = softmax(prior @ x)
    p = 0
    for k in range(K):
        rows = slice(k * E, (k + 1) * E)
        g = np.tanh(latent[rows] @ x + latent_bias[rows])
        p = p + weights[k] * softmax(table @ g + bias)
    return np.log(p)


def arrays(mixture, x, table, bias):
    parameters = mixture.prior.weight, mixture.latent.weight, mixture.latent.bias, x, table, bias
    return [tensor.detach().numpy() for tensor in parameters]


def test_values(given):
    prior, latent, latent_bias, x, table, bias = arrays(*given)
    found = given[0](*given[1:])
    assert found.shape == (T, B, V)
    for t in range(T):
        for b in range(B):
            expected = in_numpy(prior, latent, latent_bias, x[t, b], table, bias)
            np.testing.assert_allclose(found[t, b].detach(), expected, atol=1e-12)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(T, B).double())


def test_gradients(given):
    """Central differences of the loss in numpy, for each operand."""
    mixture, x, table, bias = given
    tensors = [mixture.prior.weight, mixture.latent.weight, mixture.latent.bias, x, table, bias]
    for tensor in tensors:
        tensor.requires_grad_(True)
    targets = torch.randint(V, (T, B))
    loss = -mixture(x, table, bias).gather(-1, targets.unsqueeze(-1)).sum()
    gradients = torch.autograd.grad(loss, tensors)

    def numpy_loss(values):
        *weights, inputs, output, output_bias = values
        return -sum(
            in_numpy(*weights, inputs[t, b], output, output_bias)[targets[t, b]]
            for t in range(T)
            for b in range(B)
        )

    values = arrays(*given)
    random = np.random.default_rng(1)
    for number, gradient in enumerate(gradients):
        for _ in range(4):
            index = tuple(random.integers(size) for size in gradient.shape)
            losses = []
            for step in (1e-5, -1e-5):
                changed = [value.copy() for value in values]
                changed[number][index] += step
                losses.append(numpy_loss(changed))
            numeric = (losses[0] - losses[1]) / 2e-5
            np.testing.assert_allclose(float(gradient[index]), numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("block", [1, 2, 7, 100])
def test_without_gradients(given, block, monkeypatch):
    """The same, with the logits of few positions in memory at once."""
    mixture, x, table, bias = given
    expected = mixture(x, table, bias)
    log_softmax, sizes = torch.log_softmax, []

    def recorded(logits, dim):
        sizes.append(logits.shape)
        return log_softmax(logits, dim)

    monkeypatch.setattr(torch, "log_softmax", recorded)
    monkeypatch.setattr(mixture_of_softmaxes, "BLOCK", block)
    with torch.no_grad():
        found = mixture(x, table, bias)
        without_bias = mixture(x, table)
    torch.testing.assert_close(found, expected)
    assert found.shape == without_bias.shape == (T, B, V)
    positions = [shape.numel() // (K * V) for shape in sizes if shape[-1] == V]
    assert max(positions) == min(block, T * B)


def test_one_softmax_is_a_softmax(given):
    _, x, table, _ = given
    mixture = MixtureOfSoftmaxes(M, E, 1).double()
    expected = torch.log_softmax(torch.tanh(mixture.latent(x)) @ table.t(), -1)
    torch.testing.assert_close(mixture(x, table), expected)


def test_dropout_is_the_same_at_every_time_step(given):
    _, x, table, bias = given
    mixture = MixtureOfSoftmaxes(M, E, K, dropout=0.5).double()
    x = x[:1].expand(T, B, M)
    found = mixture(x, table, bias)
    torch.testing.assert_close(found, found[:1].expand_as(found))
    assert not torch.allclose(found, mixture.eval()(x, table, bias))
