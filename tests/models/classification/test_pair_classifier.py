"""The classifier of pairs: padding, batches, order of the texts."""

import pytest
import torch

from fairseq_lrn.generation.classifier import HEAD
from fairseq_lrn.models.classification.pair_classifier import (
    LRNPairClassifier,
    LRNPairClassifierConfig,
)
from kernels import needs_rms_norm
from labelled_tasks import labelled_task, texts

SMALL = {
    "word_embed_dim": 6,
    "character_embed_dim": 5,
    "hidden_size": 4,
    "pooling_hidden_size": 3,
    "attention_heads": 2,
}


@pytest.fixture
def task():
    return labelled_task(num_inputs=2)


@pytest.fixture
def build(task):
    def make(**options):
        torch.manual_seed(1)
        cfg = LRNPairClassifierConfig(**{**SMALL, **options})
        model = LRNPairClassifier.build_model(cfg, task)
        model.register_classification_head(HEAD, num_classes=3)
        return model.eval()

    return make


def classify(model, batch):
    return model(**batch, features_only=True, classification_head_name=HEAD)


def pairs(task, first, second, **options):
    return {**texts(task, first, **options), **texts(task, second, prefix="other", **options)}


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lrn"},
        pytest.param(
            {"cell": "olrn", "projection_norm": "rms", "character_encoder": "max"},
            marks=needs_rms_norm,
        ),
        {"cell": "gru", "pooling": "max"},
        {"cell": "lstm", "pooling": "mean"},
        {
            "cell": "lrn",
            "input_window": 3,
            "match_feature": True,
            "align_words": True,
            "align_product": True,
            "layers": 3,
        },
    ],
)
def test_alone_in_a_batch_padded_left_or_right(build, task, options):
    model = build(**options)
    first, second = [3, 1, 9], [2, 7, 4]
    right, extra = classify(model, pairs(task, first, second))
    left, _ = classify(model, pairs(task, first, second, left_pad=True))
    assert right.shape == (3, 3) and extra["alignment"].shape == (3, 7, 9)
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(extra["alignment"].sum(2), torch.ones(3, 7))
    for row in range(3):
        batch = {}
        for prefix, lengths in (("src", first), ("other", second)):
            whole = texts(task, lengths, prefix=prefix)
            batch.update({name: x[row : row + 1, : lengths[row]] for name, x in whole.items()})
        alone, _ = classify(model, batch)
        torch.testing.assert_close(alone[0], right[row], rtol=1e-4, atol=1e-5)


def test_the_order_of_the_texts_matters(build, task):
    model = build()
    there, _ = classify(model, pairs(task, [4], [6]))
    back, _ = classify(model, pairs(task, [6], [4]))
    assert not torch.allclose(there, back)


def test_gradients_reach_all_parameters(build, task):
    model = build(character_encoder="max").train()
    classify(model, pairs(task, [3, 7], [4, 4]))[0].logsumexp(1).sum().backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert missing == []


def test_layers_that_both_texts_share(build, task):
    one, three = build(), build(layers=3)
    assert len(one.shared_layers) == 0 and len(three.shared_layers) == 2
    batch = pairs(task, [5], [6])
    changed = classify(three, batch)[0].clone()
    with torch.no_grad():
        three.shared_layers[1].recurrence.cells[0].projection.weight.mul_(2)
    assert not torch.allclose(classify(three, batch)[0], changed)


def test_single_texts_are_refused():
    cfg = LRNPairClassifierConfig(**SMALL)
    with pytest.raises(ValueError, match="--kind pair, or use --arch lrn_classifier"):
        LRNPairClassifier.build_model(cfg, labelled_task())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"attention_heads": 3}, "must be divisible by --attention-heads"),
        ({"layers": 0}, "--layers must be at least 1"),
        ({"residual_layers": True}, "--residual-layers does not apply"),
    ],
)
def test_bad_options(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
