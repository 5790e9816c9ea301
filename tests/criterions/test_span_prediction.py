"""The loss of readers, and exact match and F1 over a whole subset."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.logging import metrics

from fairseq_lrn.criterions import SpanPredictionCriterion
from fairseq_lrn.tasks.span_prediction import AnswerScores


class FixedReader(torch.nn.Module):
    """Has given scores of first and last words."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = torch.nn.Parameter(first), torch.nn.Parameter(last)

    def forward(self, src_tokens):
        return self.first, self.last


@pytest.fixture
def criterion():
    def score(references, spans):
        right = [span == reference for span, reference in zip(spans, references)]
        return AnswerScores(sum(right), sum(right) + 0.5)

    cfg = SimpleNamespace(max_answer_distance=1)
    return SpanPredictionCriterion(SimpleNamespace(score=score, cfg=cfg, target_dictionary=None))


@pytest.fixture
def model():
    torch.manual_seed(1)
    return FixedReader(torch.randn(2, 4), torch.randn(2, 4))


def sample(**more):
    return {
        "net_input": {"src_tokens": None},
        "target": torch.tensor([[0, 1], [2, 2]]),
        "ntokens": 11,
        "nsentences": 2,
        **more,
    }


def test_registered_with_fairseq():
    assert CRITERION_REGISTRY["span_prediction"] is SpanPredictionCriterion


def test_loss_is_the_sum_of_both_words(criterion, model):
    loss, size, log = criterion(model, sample())
    first, last = model.first.log_softmax(-1), model.last.log_softmax(-1)
    expected = -(first[0, 0] + last[0, 1] + first[1, 2] + last[1, 2])
    torch.testing.assert_close(loss, expected)
    assert size == 2 and log["ntokens"] == 11 and "f1" not in log
    each, _, _ = criterion(model, sample(), reduce=False)
    torch.testing.assert_close(each.sum(), loss)


def test_answers_are_the_best_spans(criterion):
    # The best words of the second text, 3 and 0, are no span; the first text's are too far apart.
    first = torch.tensor([[9.0, 8.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    last = torch.tensor([[0.0, 0.0, 9.0, 0.0], [9.0, 0.0, 0.0, 1.0]])
    model = FixedReader(first, last).eval()
    _, _, log = criterion(model, sample(references=[(1, 2), (3, 3)]))
    assert log["exact_match"] == 2 and log["f1"] == 2.5


def test_training_logs_the_same_for_every_batch(criterion, model):
    """In training, a process without a batch gets the first one of the validation data."""
    _, _, log = criterion(model, sample())
    _, _, other = criterion(model, sample(references=[(0, 1), (2, 2)]))
    assert log.keys() == other.keys()


def test_metrics_are_those_of_all_questions():
    logs = [
        {"loss": 6.0, "sample_size": 3, "exact_match": 3, "f1": 3.0},
        {"loss": 2.0, "sample_size": 1, "exact_match": 0, "f1": 0.5},
    ]
    with metrics.aggregate(new_root=True) as aggregator:
        SpanPredictionCriterion.reduce_metrics(logs)
    found = aggregator.get_smoothed_values()
    assert found["loss"] == 2.0 and found["em"] == 75.0 and found["f1"] == 87.5
    with metrics.aggregate(new_root=True) as aggregator:
        SpanPredictionCriterion.reduce_metrics([{"loss": 6.0, "sample_size": 3}])
    assert "f1" not in aggregator.get_smoothed_values()
