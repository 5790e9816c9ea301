"""The authors' loss as a criterion of fairseq."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.data import Dictionary

from fairseq_lrn.criterions import SentenceLabelSmoothedCrossEntropy
from fairseq_lrn.criterions.sentence_label_smoothed_cross_entropy import smoothed_loss
from parity import DATA, largest_error, load


class Model(torch.nn.Module):
    """A model that returns fixed logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self):
        return self.logits, None

    def get_normalized_probs(self, net_output, log_probs):
        return net_output[0].log_softmax(-1)

    def get_targets(self, sample, net_output):
        return sample["target"]


def criterion(eps=0.1, **options):
    task = SimpleNamespace(target_dictionary=Dictionary())
    return SentenceLabelSmoothedCrossEntropy(task, False, eps, **options)


def sample(target):
    return {"net_input": {}, "target": target, "ntokens": int(target.ne(1).sum())}


@pytest.fixture
def recorded():
    record, arrays = load(DATA / "misc" / "label_smoothing.npz")
    return record["label_smooth"], arrays


def test_is_registered():
    name = "sentence_label_smoothed_cross_entropy"
    assert CRITERION_REGISTRY[name] is SentenceLabelSmoothedCrossEntropy


def test_against_the_authors_numbers(recorded):
    eps, arrays = recorded
    losses, _ = smoothed_loss(arrays["logits"].log_softmax(-1), arrays["tgt"].long(), eps)
    assert largest_error(losses, arrays["token_ce"]) <= 2e-5
    # The criterion: fairseq's id of padding is 1, so classes 0 and 1 are swapped.
    swap = torch.tensor([1, 0, *range(2, 11)])
    model = Model(arrays["logits"][..., swap])
    batch = sample(swap[arrays["tgt"].long()])
    total, sample_size, logged = criterion(eps)(model, batch)
    assert sample_size == 3
    loss = total / sample_size
    loss.backward()
    assert largest_error(loss, arrays["loss"]) <= 2e-5
    assert largest_error(model.logits.grad[..., swap], arrays["glogits"]) <= 2e-5
    each, _, _ = criterion(eps)(model, batch, reduce=False)
    assert largest_error(each, arrays["per_sample"]) <= 2e-5
    assert logged["ntokens"] == batch["ntokens"]


def test_normaliser(recorded):
    eps, arrays = recorded
    smoothed = torch.full((11,), eps / 10)
    smoothed[4] = 1 - eps
    loss, nll_loss = smoothed_loss(smoothed.log()[None], torch.tensor([4]), eps)
    assert loss.abs().item() < 1e-6  # a perfect prediction
    torch.testing.assert_close(nll_loss, torch.tensor([-math.log(1 - eps)]))
    entropy = -(smoothed * smoothed.log()).sum()
    assert largest_error(entropy, arrays["normalizer"]) < 1e-5


def test_every_sentence_has_the_same_weight():
    logits = torch.randn(2, 5, 7)
    target = torch.tensor([[4, 5, 6, 4, 2], [5, 2, 1, 1, 1]])
    total, _, _ = criterion()(Model(logits), sample(target))
    alone = [
        criterion()(Model(logits[row : row + 1, :n]), sample(target[row : row + 1, :n]))[0]
        for row, n in ((0, 5), (1, 2))
    ]
    torch.testing.assert_close(total, sum(alone))


def test_masked_tokens_have_no_effect():
    logits, target = torch.randn(2, 3, 7), torch.tensor([[4, 5, 2], [6, 2, 1]])
    model = Model(torch.cat([logits, torch.full((2, 3, 2), -math.inf)], dim=-1))
    mask = torch.tensor([False] * 7 + [True] * 2)
    model.decoder = SimpleNamespace(masked_tokens=lambda: mask)
    loss = criterion()(model, sample(target))[0]
    torch.testing.assert_close(loss, criterion()(Model(logits), sample(target))[0])
    loss.backward()
    assert model.logits.grad.isfinite().all()


def test_nan_is_passed_on():
    """fairseq's trainer handles it: it stops with a message, or skips the update."""
    logits, target = torch.randn(2, 3, 7), torch.tensor([[4, 5, 2], [6, 2, 1]])
    logits[0, 0] = math.nan
    assert criterion()(Model(logits), sample(target))[0].isnan()


def test_without_smoothing_and_with_accuracy():
    logits, target = torch.randn(2, 3, 7), torch.tensor([[4, 5, 2], [6, 2, 1]])
    total, _, logged = criterion(0.0, report_accuracy=True)(Model(logits), sample(target))
    nll = -logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    torch.testing.assert_close(total, nll[0].mean() + nll[1, :2].mean())
    torch.testing.assert_close(logged["nll_loss"], nll[0].sum() + nll[1, :2].sum())
    assert logged["total"] == 5


def test_ignored_prefix():
    logits, target = torch.randn(2, 3, 7), torch.tensor([[4, 5, 2], [6, 2, 1]])
    total, _, _ = criterion(ignore_prefix_size=1)(Model(logits), sample(target))
    torch.testing.assert_close(total, criterion()(Model(logits[:, 1:]), sample(target[:, 1:]))[0])
