"""The loss of taggers: its mean, its gradients' scale, and F1 over a whole subset."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.logging import metrics

from fairseq_lrn.criterions import SequenceTaggingCriterion
from fairseq_lrn.criterions.sequence_tagging import f1, percent


class FixedTagger(torch.nn.Module):
    """Predicts given tags, with a given loss of each text."""

    def __init__(self, predicted, padding):
        super().__init__()
        self.predicted, self.padding = predicted, padding
        self.nll = torch.nn.Parameter(torch.tensor([2.0, 4.0]))

    def forward(self, src_tokens, target):
        scores = torch.zeros(*self.predicted.t().shape, 3)
        return scores, {"nll": self.nll, "padding_mask": self.padding.t()}

    def decode(self, scores, padding_mask):
        return self.predicted


@pytest.fixture
def task():
    def count_entities(target, predicted):
        # Tag 1 is an entity of one word.
        right = [{i for i, tag in enumerate(tags) if tag == 1} for tags in target]
        found = [{i for i, tag in enumerate(tags) if tag == 1} for tags in predicted]
        counts = SimpleNamespace(
            right=sum(map(len, right)),
            predicted=sum(map(len, found)),
            correct=sum(len(a & b) for a, b in zip(right, found)),
        )
        return SimpleNamespace(_asdict=lambda: vars(counts))

    return SimpleNamespace(count_entities=count_entities, target_dictionary=None)


@pytest.fixture
def sample():
    return {
        "net_input": {"src_tokens": None},
        "target": torch.tensor([[1, 0, 1], [1, 0, 0]]),
        "ntokens": 5,
        "nsentences": 2,
    }


@pytest.fixture
def model():
    padding = torch.tensor([[False, False, False], [False, False, True]])
    return FixedTagger(torch.tensor([[1, 1, 0], [1, 0, 1]]), padding)


def test_registered_with_fairseq():
    assert CRITERION_REGISTRY["sequence_tagging"] is SequenceTaggingCriterion


@pytest.mark.parametrize("sentence_avg, size", [(False, 5), (True, 2)])
def test_loss(task, sample, model, sentence_avg, size):
    criterion = SequenceTaggingCriterion(task, sentence_avg)
    loss, sample_size, log = criterion(model, sample)
    assert float(loss.detach()) == 6.0 and sample_size == size == log["sample_size"]
    assert "entities_right" not in log  # decoding takes time, so only in validation
    each, _, _ = criterion(model, sample, reduce=False)
    assert each.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("number", [int, lambda value: torch.tensor(float(value))])
def test_f1_over_all_batches(task, sample, model, number):
    """Numbers are tensors after a sum over several processes."""
    criterion = SequenceTaggingCriterion(task, False)
    _, _, log = criterion(model.eval(), sample)
    # Right: 3 entities, predicted: 3 (one more at padding), correct: 2.
    assert [log[f"entities_{name}"] for name in ("right", "predicted", "correct")] == [3, 3, 2]
    assert log["right_tags"] == 3
    other = {**log, "entities_right": 1, "entities_predicted": 5, "entities_correct": 1}
    with metrics.aggregate(new_root=True) as meters:
        for one in (log, other):
            names = [name for name in one if name != "loss"]
            criterion.reduce_metrics([{**one, **{name: number(one[name]) for name in names}}])
    found = meters.get_smoothed_values()
    assert found["f1"] == pytest.approx(100 * 2 * 3 / (4 + 8))
    assert found["precision"] == 37.5 and found["recall"] == 75.0 and found["accuracy"] == 60.0
    assert found["loss"] == pytest.approx(6 / 5)


def test_no_entities():
    meters = {
        name: SimpleNamespace(sum=0)
        for name in ("_entities_right", "_entities_predicted", "_entities_correct")
    }
    assert f1(meters) == 0.0 and percent(meters, "_entities_correct", "_entities_right") == 0.0
