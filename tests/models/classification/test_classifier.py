"""The classifier of texts: padding, batches, fairseq's interface, the paper's sizes."""

import pytest
import torch

from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.models.classification.classifier import LRNClassifier, LRNClassifierConfig
from labelled_tasks import labelled_task, texts

SMALL = {"word_embed_dim": 6, "character_embed_dim": 5, "hidden_size": 4, "pooling_hidden_size": 3}


@pytest.fixture
def task():
    return labelled_task()


@pytest.fixture
def build(task):
    def make(**options):
        torch.manual_seed(1)
        model = LRNClassifier.build_model(LRNClassifierConfig(**{**SMALL, **options}), task)
        model.register_classification_head(HEAD, num_classes=3)
        return model.eval()

    return make


def classify(model, batch):
    return model(**batch, features_only=True, classification_head_name=HEAD)


KINDS = [
    {"cell": "lrn", "layers": 2},
    {"cell": "olrn", "character_encoder": "max", "projection_norm": "layer"},
    {"cell": "lstm", "pooling": "max", "character_encoder": "rnn", "character_hidden_size": 3},
    {"cell": "gru", "pooling": "mean", "input_window": 3, "character_encoder": "max"},
    {"cell": "sru", "no_pooling_query": True},
    {"cell": "atr", "activation_fn": "identity"},
]


@pytest.mark.parametrize("options", KINDS)
def test_alone_in_a_batch_padded_left_or_right(build, task, options):
    model = build(**options)
    lengths = [3, 1, 9]
    right, extra = classify(model, texts(task, lengths))
    left, other = classify(model, texts(task, lengths, left_pad=True))
    wide, _ = classify(model, texts(task, lengths, width=14))
    assert right.shape == (3, 3)
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(wide, right, rtol=1e-4, atol=1e-5)
    for row, length in enumerate(lengths):
        batch = {name: value[row : row + 1] for name, value in texts(task, lengths).items()}
        batch = {name: value[:, :length] for name, value in batch.items()}
        alone, _ = classify(model, batch)
        torch.testing.assert_close(alone[0], right[row], rtol=1e-4, atol=1e-5)
    if extra["attention"] is not None:
        torch.testing.assert_close(extra["attention"].sum(1), torch.ones(3))
        assert bool((extra["attention"][1, 1:] == 0).all())
        assert bool((other["attention"][1, :-1] == 0).all())


def test_gradients_reach_all_parameters(build, task):
    model = build(character_encoder="rnn", character_hidden_size=3).train()
    classify(model, texts(task, [3, 7]))[0].logsumexp(1).sum().backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert missing == []


def test_without_a_head(build, task):
    pooled, _ = build()(texts(task, [3, 2])["src_tokens"])
    assert pooled.shape == (2, 8)


def test_pairs_are_refused():
    with pytest.raises(ValueError, match="use --arch lrn_pair_classifier"):
        LRNClassifier.build_model(LRNClassifierConfig(**SMALL), labelled_task(num_inputs=2))


def test_bad_pooling(build):
    with pytest.raises(ValueError, match="--pooling must be one of"):
        build(pooling="last")
    with pytest.raises(ValueError, match="--no-pooling-query has no effect with --pooling max"):
        build(pooling="max", no_pooling_query=True)
