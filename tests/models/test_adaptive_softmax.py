"""Adaptive softmax: probabilities, gradients, sharing the embedding matrix, classes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fairseq.modules import AdaptiveSoftmax
from torch import nn

from fairseq_lrn.models.adaptive_softmax import ClassAdaptiveSoftmax, build_adaptive_softmax
from fairseq_lrn.models.decoder_config import DecoderConfig

WIDTH, TOKENS = 16, 30


@pytest.fixture
def table():
    torch.manual_seed(1)
    return nn.Embedding(TOKENS, WIDTH)


@pytest.fixture
def features():
    torch.manual_seed(2)
    return torch.randn(3, 7, WIDTH)


@pytest.fixture
def target():
    torch.manual_seed(3)
    return torch.randint(2, 28, (3, 7))


def shared_softmax(table, **options):
    torch.manual_seed(4)
    options = {"factor": 1.0, "shared": table.weight, **options}
    return ClassAdaptiveSoftmax(TOKENS, WIDTH, [10, 20], **options)


def test_cutoff_beyond_the_dictionary(table):
    config = DecoderConfig(decoder_embed_dim=WIDTH, adaptive_softmax_cutoff="5,31")
    with pytest.raises(ValueError, match="exceeds the 30 tokens of the dictionary: lower it"):
        build_adaptive_softmax(config, table, TOKENS)


def test_built_as_the_options_say(table):
    config = DecoderConfig(decoder_embed_dim=WIDTH, adaptive_softmax_cutoff="10,20")
    own = build_adaptive_softmax(config, table, TOKENS)
    assert own.cutoff == [10, 20, 30] and own.factor == 4.0
    assert all(parameter is not table.weight for parameter in own.parameters())
    config.adaptive_softmax_factor, config.share_decoder_input_output_embed = 1.0, True
    shared = build_adaptive_softmax(config, table, TOKENS)
    names = [name for name, parameter in shared.named_parameters() if parameter is table.weight]
    assert names == ["table"]  # the head and the tails name the same parameter
    assert sum(parameter.numel() for parameter in shared.parameters()) == (TOKENS + 2) * WIDTH


def test_without_sharing_it_is_fairseqs(features, target):
    """The same parameters under the same names, and the same results."""
    ours, theirs = (
        ClassAdaptiveSoftmax(TOKENS, WIDTH, [10, 20]),
        AdaptiveSoftmax(TOKENS, WIDTH, [10, 20], dropout=0.0),
    )
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours.get_log_prob(features, None), theirs.get_log_prob(features, None))


def test_shared_probabilities_in_numpy(table, features):
    softmax = shared_softmax(table)
    found = softmax.get_log_prob(features, None).exp().detach().numpy().reshape(-1, TOKENS)
    weight = table.weight.detach().numpy().astype(np.float64)
    tails = softmax.head[0].tails.weight.detach().numpy().astype(np.float64)
    for row, x in zip(found, features.numpy().reshape(-1, WIDTH).astype(np.float64)):
        scores, of_tails = np.exp(weight @ x), np.exp(tails @ x)
        total = scores[:10].sum() + of_tails.sum()
        expected = np.concatenate(
            [
                scores[:10] / total,
                of_tails[0] / total * scores[10:20] / scores[10:20].sum(),
                of_tails[1] / total * scores[20:] / scores[20:].sum(),
            ]
        )
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-7)


def log_probabilities(softmax, features):
    """From the definition: the tokens of the head, and tail times token for the others."""
    head = F.log_softmax(softmax.head(features), dim=1)
    of_tails = [
        head[:, 10 + index, None] + F.log_softmax(tail(features), dim=1)
        for index, tail in enumerate(softmax.tail)
    ]
    return torch.cat([head[:, :10], *of_tails], dim=1)


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("classes", [None, (2, 28)])
def test_loss_and_its_gradients(table, features, target, is_shared, classes):
    softmax = shared_softmax(table, classes=classes)
    if not is_shared:
        softmax = ClassAdaptiveSoftmax(TOKENS, WIDTH, [10, 20], factor=2.0, classes=classes)
    target[1, 4:] = 1
    features.requires_grad_()
    inputs = [features, *softmax.parameters()]
    loss = softmax.nll(features, target, ignore_index=1)
    log_p = log_probabilities(softmax, features.flatten(0, 1))
    with torch.no_grad():  # fairseq's own supports no gradients
        torch.testing.assert_close(log_p, softmax.get_log_prob(features, None).flatten(0, 1))
    expected = F.nll_loss(log_p, target.flatten(), ignore_index=1, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    found, wanted = (torch.autograd.grad(value, inputs) for value in (loss, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [(2, 28), (0, 30), (3, 19)])
def test_tokens_outside_of_the_classes_have_no_probability(table, features, classes):
    for softmax in (
        shared_softmax(table, classes=classes),
        ClassAdaptiveSoftmax(TOKENS, WIDTH, [10, 20], factor=2.0, classes=classes),
    ):
        probabilities = softmax.get_log_prob(features, None).exp()
        start, end = classes
        if end > 20:  # each tail has a class
            torch.testing.assert_close(probabilities.sum(-1), torch.ones(3, 7))
        never = torch.ones(TOKENS, dtype=torch.bool)
        never[start:end] = False
        if end > 20:
            assert torch.all(probabilities[..., never] == 0)
        assert torch.all(probabilities[..., :start] == 0)


def test_no_target_in_a_tail(table, features):
    loss = shared_softmax(table).nll(features, torch.full((3, 7), 4), ignore_index=1)
    assert torch.isfinite(loss)
    loss.backward()
    assert torch.all(table.weight.grad[10:] == 0)
