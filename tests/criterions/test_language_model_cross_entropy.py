"""The loss of a language model: fairseq's cross entropy, and the regularisers in numpy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.logging import metrics

from fairseq_lrn.criterions import FusedLabelSmoothedCrossEntropy, LanguageModelCrossEntropy
from fairseq_lrn.models import LRNLanguageModel
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig

KINDS = {
    "plain product": {"share_decoder_input_output_embed": True},
    "bias": {"output_bias": True},
    "mixture": {"mixture_of_softmaxes": 3},
}


@pytest.fixture
def task():
    dictionary = Dictionary()
    for number in range(30):
        dictionary.add_symbol(f"word{number}")
    dictionary.finalize(padding_factor=8)
    return SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)


@pytest.fixture
def sample():
    torch.manual_seed(2)
    tokens = torch.randint(2, 34, (3, 8))
    target = tokens[:, 1:].clone()
    target[2, 4:] = 1
    return {
        "net_input": {"src_tokens": tokens[:, :-1], "src_lengths": torch.full((3,), 7)},
        "target": target,
        "ntokens": int(target.ne(1).sum()),
    }


def build(task, **options):
    torch.manual_seed(1)
    config = LRNLanguageModelConfig(decoder_embed_dim=12, decoder_hidden_size=10, **options)
    return LRNLanguageModel.build_model(config, task)


def test_registered_with_fairseq():
    assert CRITERION_REGISTRY["language_model_cross_entropy"] is LanguageModelCrossEntropy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_fairseqs_cross_entropy(task, sample, kind, training):
    model = build(task, dropout=0.0, **KINDS[kind]).train(training)
    results, gradients = [], []
    for criterion in (
        CrossEntropyCriterion(task, False),
        LanguageModelCrossEntropy(task, False),
    ):
        loss, sample_size, log = criterion(model, sample)
        results.append((loss.detach(), sample_size, log["ntokens"]))
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_not_reduced(task, sample, kind):
    model = build(task, dropout=0.0, **KINDS[kind])
    expected, _, _ = CrossEntropyCriterion(task, False)(model, sample, reduce=False)
    loss, _, _ = LanguageModelCrossEntropy(task, False)(model, sample, reduce=False)
    assert loss.shape == (21,)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("factor, is_shared", [(2.0, False), (1.0, True)])
def test_adaptive_softmax(task, sample, factor, is_shared):
    model = build(
        task,
        dropout=0.0,
        adaptive_softmax_cutoff="10,20",
        adaptive_softmax_factor=factor,
        share_decoder_input_output_embed=is_shared,
    )
    expected, _, _ = CrossEntropyCriterion(task, False)(model, sample)
    criterion = LanguageModelCrossEntropy(task, False, activation_reg=1.0)
    torch.testing.assert_close(criterion(model.eval(), sample)[0], expected)
    each, _, _ = criterion(model, sample, reduce=False)
    torch.testing.assert_close(each.sum(), expected)
    loss, _, log = criterion(model.train(), sample)
    torch.testing.assert_close(log["nll_loss"], expected.detach())
    assert loss > expected
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_adaptive_softmax_with_several_gpus(task, sample, monkeypatch):
    """A batch may need none of a tail, which torch's DistributedDataParallel does not allow."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    model = build(task, adaptive_softmax_cutoff="6")
    with pytest.raises(ValueError, match="--ddp-backend pytorch_ddp cannot .* legacy_ddp"):
        LanguageModelCrossEntropy(task, False, ddp_backend="pytorch_ddp")(model, sample)
    LanguageModelCrossEntropy(task, False, ddp_backend="legacy_ddp")(model, sample)


def test_torch_looks_for_unused_parameters(task, sample, monkeypatch):
    """In parameters that only the loss uses, torch's backward pass would fail."""
    criterion = LanguageModelCrossEntropy(task, False)
    for options in (*KINDS.values(), {}, {"adaptive_softmax_cutoff": "6"}):
        model = build(task, **options)
        wrapper = torch.nn.Module()
        wrapper.module, wrapper.find_unused_parameters = model, True
        wrapper.forward = model.forward
        if options == KINDS["plain product"]:  # the embedding's matrix, which forward uses, too
            criterion(wrapper, sample)
            continue
        with pytest.raises(ValueError, match="--find-unused-parameters .* leave the option out"):
            criterion(wrapper, sample)


def test_regularisers_in_numpy(task, sample):
    """Values and gradients with respect to the features, from the definitions."""
    features = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    outputs = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    criterion = LanguageModelCrossEntropy(
        task, False, activation_reg=2.0, temporal_activation_reg=3.0
    )
    total = criterion._regularisation(features, {"features": outputs})
    found = torch.autograd.grad(total, [features, outputs])
    dropped, whole = features.detach().numpy(), outputs.detach().numpy()
    expected = 2.0 * np.mean(dropped**2)
    change = np.diff(whole, axis=1)
    expected += 3.0 * np.mean(change**2)
    assert abs(float(total.detach()) - expected) < 1e-5
    np.testing.assert_allclose(found[0], 4.0 * dropped / dropped.size, atol=1e-6)
    gradient = np.zeros_like(whole)
    gradient[:, 1:] += 6.0 * change / change.size
    gradient[:, :-1] -= 6.0 * change / change.size
    np.testing.assert_allclose(found[1], gradient, atol=1e-6)


def test_regularisers_count_in_training_only(task, sample):
    model = build(task, dropout=0.0)
    plain = LanguageModelCrossEntropy(task, False)
    regularised = LanguageModelCrossEntropy(
        task, False, activation_reg=2.0, temporal_activation_reg=1.0
    )
    difference = regularised(model, sample)[0] - plain(model, sample)[0]
    features, extra = model(**sample["net_input"], features_only=True)
    change = (extra["features"][:, 1:] - extra["features"][:, :-1]).pow(2).mean()
    expected = sample["ntokens"] * (2 * features.pow(2).mean() + change)
    torch.testing.assert_close(difference, expected, rtol=1e-3, atol=1e-3)
    model.eval()
    assert torch.equal(regularised(model, sample)[0], plain(model, sample)[0])


def test_metrics(task, sample):
    """Loss in base 2 with the regularisers, perplexity without."""
    criterion = LanguageModelCrossEntropy(task, False, activation_reg=2.0)
    _, _, log = criterion(build(task), sample)
    with metrics.aggregate(new_root=True) as aggregator:
        criterion.reduce_metrics([log, log])
    values = aggregator.get_smoothed_values()
    nll = float(log["nll_loss"]) / log["ntokens"]
    assert abs(values["nll_loss"] - nll / np.log(2)) < 1e-3
    assert abs(values["ppl"] - np.exp(nll)) < 0.05
    assert values["loss"] > values["nll_loss"] + 0.1


def test_nothing_to_predict(task, sample):
    """A process that has no share of a segment in evaluation."""
    sample["target"].fill_(1)
    sample["ntokens"] = 0
    loss, _, _ = LanguageModelCrossEntropy(task, False)(build(task).eval(), sample)
    assert float(loss) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"activation_reg": -1.0}, "--activation-reg must be at least 0"),
        ({"temporal_activation_reg": float("nan")}, "--temporal-activation-reg must be at least 0"),
        ({"autocast": "float8"}, "--autocast must be one of"),
    ],
)
def test_invalid_options(task, options, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelCrossEntropy(task, False, **options)


def test_other_models(task, sample):
    criterion = LanguageModelCrossEntropy(task, False)
    other = build(task, **KINDS[next(iter(KINDS))])
    other.decoder.__class__ = type("OtherDecoder", (torch.nn.Module,), {})
    other.forward = lambda src_tokens, **kwargs: (torch.zeros(1), {})  # as that of lstm_lm
    with pytest.raises(ValueError, match="is for --arch lrn_lm only: .* --criterion cross_entropy"):
        criterion(other, sample)


def test_label_smoothing_by_the_criterion_of_translation(task, sample):
    """Classes that have no probability get no share of it: their logits are far below 0."""
    model = build(task, share_decoder_input_output_embed=True).eval()
    smoothed, plain = (
        FusedLabelSmoothedCrossEntropy(task, False, eps)(model, sample)[0] for eps in (0.1, 0.0)
    )
    torch.testing.assert_close(smoothed, plain, rtol=0.1, atol=0)
    # Nor are they predicted.
    with torch.no_grad():
        tokens, _ = model(**sample["net_input"])
    best = dict(sample, target=tokens.argmax(-1))
    accuracy = FusedLabelSmoothedCrossEntropy(task, False, 0.1, report_accuracy=True)
    logged = accuracy(model, best)[2]
    assert logged["n_correct"] == logged["total"] > 0


def test_no_rdrop(task, sample):
    criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1, rdrop_alpha=2.0)
    with pytest.raises(ValueError, match="not available for language models: leave it out"):
        criterion(build(task).train(), sample)
