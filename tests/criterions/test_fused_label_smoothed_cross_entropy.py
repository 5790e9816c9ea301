"""The fused loss as a criterion of fairseq: the same values and gradients as fairseq's loss."""

import copy
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.distributed import ModuleProxyWrapper
from fairseq.models.lstm import LSTMModel, base_architecture
from fairseq.models.transformer import TransformerConfig, TransformerDecoder, TransformerModel

from fairseq_lrn.criterions import FusedLabelSmoothedCrossEntropy
from fairseq_lrn.models import LRNModel
from fairseq_lrn.models.translation.lrn_config import LRNConfig

SIZES = {
    "encoder_embed_dim": 16,
    "encoder_layers": 1,
    "decoder_embed_dim": 16,
    "decoder_layers": 1,
    "dropout": 0.0,
}


@pytest.fixture
def task():
    dictionary = Dictionary()
    for number in range(40):
        dictionary.add_symbol(f"word{number}")
    return SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)


@pytest.fixture
def sample():
    torch.manual_seed(2)
    target = torch.randint(4, 44, (3, 6))
    target[0, 4:] = target[2, 5:] = 1
    source = torch.randint(4, 44, (3, 7))
    source[2, :3] = 1  # fairseq's lstm needs the longest sentence first
    previous = target.roll(1, 1)
    previous[:, 0] = 2
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": source.ne(1).sum(1),
            "prev_output_tokens": previous,
        },
        "target": target,
        "ntokens": int(target.ne(1).sum()),
    }


def lrn(task, **options):
    sizes = {"encoder_hidden_size": 12, "decoder_hidden_size": 12, **SIZES}
    return LRNModel.build_model(LRNConfig(**sizes, **options), task)


def transformer(task, **options):
    cfg = TransformerConfig()
    cfg.dropout = 0.0
    cfg.share_decoder_input_output_embed = True
    cfg.encoder.layers = cfg.decoder.layers = 1
    for side in (cfg.encoder, cfg.decoder):
        side.embed_dim, side.ffn_embed_dim, side.attention_heads = 16, 24, 2
    cfg.decoder.input_dim = cfg.decoder.output_dim = 16
    for name, value in options.items():
        setattr(cfg, name, value)
    return TransformerModel.build_model(cfg, task)


class Wrapper(torch.nn.Module):
    """Like torch's DistributedDataParallel, it has the model as its ``module``."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def lstm(task, share_all_embeddings):
    sizes = {"encoder_hidden_size": 12, "decoder_hidden_size": 12, **SIZES}
    cfg = SimpleNamespace(
        **sizes,
        decoder_out_embed_dim=16,
        share_all_embeddings=share_all_embeddings,
        criterion=None,  # build_model reads it
    )
    base_architecture(cfg)
    return LSTMModel.build_model(cfg, task)


def run(criterion, model, sample, **kwargs):
    model.zero_grad()
    loss, sample_size, logged = criterion(model, sample, **kwargs)
    loss.sum().backward()
    grads = {n: p.grad if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return loss, sample_size, logged, grads


def assert_agree(actual, expected, rtol=1e-5, atol=1e-6):
    """Compare two results of :func:`run`."""
    torch.testing.assert_close(actual[0], expected[0], rtol=rtol, atol=atol)
    assert actual[1] == expected[1]
    assert actual[2].keys() == expected[2].keys()
    for name, value in expected[2].items():
        torch.testing.assert_close(float(actual[2][name]), float(value), rtol=rtol, atol=atol)
    torch.testing.assert_close(actual[3], expected[3], rtol=1e-4, atol=1e-5)


def test_is_registered():
    name = "fused_label_smoothed_cross_entropy"
    assert CRITERION_REGISTRY[name] is FusedLabelSmoothedCrossEntropy


@pytest.mark.parametrize("build", [lrn, transformer, lstm])
@pytest.mark.parametrize(
    "sentence_avg, prefix, eps", [(False, 0, 0.1), (True, 2, 0.1), (False, 0, 0.0)]
)
def test_agrees_with_fairseq(build, task, sample, monkeypatch, sentence_avg, prefix, eps):
    torch.manual_seed(1)
    model = build(task, share_all_embeddings=True)
    arguments = (task, sentence_avg, eps, prefix)
    expected = run(LabelSmoothedCrossEntropyCriterion(*arguments), model, sample)
    decoder = model.decoder
    monkeypatch.setattr(decoder, "output_layer", lambda *_: pytest.fail("all logits were computed"))
    assert_agree(run(FusedLabelSmoothedCrossEntropy(*arguments), model, sample), expected)


def test_a_decoder_that_does_more_than_multiply(task, sample):
    class Decoder(TransformerDecoder):
        def output_layer(self, features):
            return super().output_layer(features) / 3

    model = transformer(task)
    model.decoder.__class__ = Decoder
    arguments = (task, False, 0.1)
    expected = run(LabelSmoothedCrossEntropyCriterion(*arguments), model, sample)
    assert_agree(run(FusedLabelSmoothedCrossEntropy(*arguments), model, sample), expected)


def test_a_model_that_does_not_return_features(task, sample):
    model = transformer(task)
    plain = type(model).forward

    class Model(type(model)):
        def forward(self, src_tokens, src_lengths, prev_output_tokens):
            return plain(self, src_tokens, src_lengths, prev_output_tokens)

    model.__class__ = Model
    arguments = (task, False, 0.1)
    expected = run(LabelSmoothedCrossEntropyCriterion(*arguments), model, sample)
    assert_agree(run(FusedLabelSmoothedCrossEntropy(*arguments), model, sample), expected)


def test_half_precision_with_autocast(task, sample):
    criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1, autocast="bfloat16")
    with pytest.raises(ValueError, match="--autocast bfloat16 conflicts with --fp16"):
        criterion(lrn(task).half().train(), sample)


def test_falls_back_to_fairseqs_loss(task, sample, caplog):
    caplog.set_level("INFO")
    model = lrn(task)
    model.decoder.output_projection = torch.nn.Linear(16, 44)  # with a bias
    arguments = (task, False, 0.1)
    criterion = FusedLabelSmoothedCrossEntropy(*arguments)
    expected = run(LabelSmoothedCrossEntropyCriterion(*arguments), model, sample)
    assert_agree(run(criterion, model, sample), expected)
    run(criterion, model, sample)
    assert caplog.text.count("the loss is not fused: the model's output layer") == 1


def test_fairseqs_lstm_without_the_fused_loss(task, sample, caplog):
    caplog.set_level("INFO")
    separate = lstm(task, share_all_embeddings=False)
    wrapped = ModuleProxyWrapper(Wrapper(lstm(task, share_all_embeddings=True)))
    reasons = (
        "the model's output layer is not a single matrix",
        "the model is wrapped for several",
    )
    for model, reason in zip((separate, wrapped), reasons):
        expected = run(LabelSmoothedCrossEntropyCriterion(task, False, 0.1), model, sample)
        assert_agree(run(FusedLabelSmoothedCrossEntropy(task, False, 0.1), model, sample), expected)
        assert caplog.text.count(f"the loss is not fused: {reason}") == 1
        rdrop = FusedLabelSmoothedCrossEntropy(task, False, 0.1, rdrop_alpha=2.0)
        with pytest.raises(ValueError, match=f"but {reason}.*; train lstm in one process"):
            rdrop(model.train(), sample)


def test_rdrop_with_fairseqs_lstm(task, sample):
    """The encoder reads the sentences of both passes, which are not sorted by length."""
    model = lstm(task, share_all_embeddings=True).train()
    once = run(FusedLabelSmoothedCrossEntropy(task, False, 0.1), model, sample)
    criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1, rdrop_alpha=2.0)
    twice = run(criterion, model, sample)
    torch.testing.assert_close(twice[0], 2 * once[0])  # the model has no dropout
    for name, grad in once[3].items():
        torch.testing.assert_close(twice[3][name], 2 * grad, rtol=1e-4, atol=1e-5)
    assert twice[2]["rdrop_kl_loss"] < 1e-5


@pytest.mark.parametrize("options, kwargs", [((0, True), {}), ((), {"reduce": False})])
def test_results_that_need_the_logits(task, sample, options, kwargs):
    """Accuracy, and a loss that is not reduced."""
    model = lrn(task)
    expected, actual = (
        run(kind(task, False, 0.1, *options), model, sample, **kwargs)
        for kind in (LabelSmoothedCrossEntropyCriterion, FusedLabelSmoothedCrossEntropy)
    )
    torch.testing.assert_close(actual[0], expected[0])
    assert actual[2].keys() == expected[2].keys()


def test_rdrop_agrees_with_fairseqs(task, sample):
    """Without dropout, both passes would be equal, so the second pass gets other features."""
    rdrop = pytest.importorskip(
        "fairseq.criterions.label_smoothed_cross_entropy_with_rdrop",
        reason="fairseq 0.12.2 has no R-Drop",
    )
    model = lrn(task).train()
    offset = torch.nn.Parameter(torch.randn(3, 1, 16))
    original = model.decoder.extract_features

    def features(*args, **kwargs):
        x, extra = original(*args, **kwargs)
        return x + torch.cat([torch.zeros(3, 1, 16), offset]), extra

    model.decoder.extract_features = features
    model.register_parameter("offset", offset)
    expected = run(
        rdrop.RdropLabelSmoothedCrossEntropyCriterion(task, False, 0.1, rdrop_alpha=2.0),
        model,
        copy.deepcopy(sample),
    )
    actual = run(FusedLabelSmoothedCrossEntropy(task, False, 0.1, rdrop_alpha=2.0), model, sample)
    actual[2]["nll_loss"] *= 2  # fairseq logs the sum of both passes
    assert_agree(actual, expected)
    assert sample["net_input"]["src_tokens"].size(0) == 3


def test_rdrop_applies_to_training_and_needs_the_fused_loss(task, sample):
    model = lrn(task)
    criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1, rdrop_alpha=2.0)
    plain = FusedLabelSmoothedCrossEntropy(task, False, 0.1)
    assert torch.equal(criterion(model.eval(), sample)[0], plain(model, sample)[0])
    model.decoder.output_projection = torch.nn.Linear(16, 44)
    with pytest.raises(ValueError, match="--rdrop-alpha needs the fused loss, but the model's"):
        criterion(model.train(), sample)


def test_autocast_applies_to_training(task, sample):
    torch.manual_seed(1)
    model = lrn(task)
    exact = run(FusedLabelSmoothedCrossEntropy(task, False, 0.1), model, sample)
    criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1, autocast="bfloat16")
    rounded = run(criterion, model.train(), sample)
    assert exact[0] != rounded[0]
    torch.testing.assert_close(rounded[0], exact[0], rtol=1e-2, atol=0)
    assert all(grad.dtype == torch.float32 for grad in rounded[3].values())
    assert torch.equal(run(criterion, model.eval(), sample)[0], exact[0])


def part(sample, rank):
    """Two of the three sentences for the first process, one for the second."""
    rows = slice(0, 2) if rank == 0 else slice(2, 3)
    target = sample["target"][rows]
    net_input = {name: value[rows] for name, value in sample["net_input"].items()}
    return {"net_input": net_input, "target": target, "ntokens": int(target.ne(1).sum())}


def train_a_step(rank, world, meeting, model, task, sample, result):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    wrapped = ModuleProxyWrapper(torch.nn.parallel.DistributedDataParallel(model))
    run(FusedLabelSmoothedCrossEntropy(task, False, 0.1), wrapped, part(sample, rank))
    if rank == 0:
        torch.save([parameter.grad for parameter in model.parameters()], result)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_data_parallel(task, sample, tmp_path):
    """The loss multiplies by the output matrix outside the wrapper; its gradient is averaged."""
    model = lrn(task, share_all_embeddings=True)
    loss, *_ = FusedLabelSmoothedCrossEntropy(task, False, 0.1)(model, sample)
    loss.backward()
    expected = [parameter.grad for parameter in model.parameters()]
    arguments = (2, tmp_path / "meeting", model, task, sample, tmp_path / "gradients.pt")
    torch.multiprocessing.spawn(train_a_step, arguments, nprocs=2)
    gradients = torch.load(tmp_path / "gradients.pt")
    for actual, gradient in zip(gradients, expected):
        torch.testing.assert_close(2 * actual, gradient)  # the mean of two processes


@pytest.mark.parametrize("is_shared", [True, False])
def test_torch_looks_for_unused_parameters(task, sample, tmp_path, caplog, is_shared):
    """A matrix that only the loss uses would seem unused, and the backward pass would fail."""
    caplog.set_level("INFO")
    model = lrn(task, share_decoder_input_output_embed=is_shared)
    expected = run(FusedLabelSmoothedCrossEntropy(task, False, 0.1), model, sample)
    meeting = f"file://{tmp_path / 'meeting'}"
    torch.distributed.init_process_group("gloo", meeting, rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1)
        criterion(ModuleProxyWrapper(wrapped), sample)[0].backward()
    finally:
        torch.distributed.destroy_process_group()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(grads, {n: 2 * g for n, g in expected[3].items()})
    assert ("not fused: with --find-unused-parameters" in caplog.text) != is_shared


def test_an_outer_autocast_stays_on(task, sample):
    """fairseq's --amp sets an outer autocast."""
    model = lrn(task).train()
    criterion = FusedLabelSmoothedCrossEntropy(task, False, 0.1)
    inner = FusedLabelSmoothedCrossEntropy(task, False, 0.1, autocast="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        outer_loss = criterion(model, sample)[0]
    assert torch.equal(outer_loss, inner(model, sample)[0])
    assert not torch.equal(outer_loss, criterion(model, sample)[0])


def test_invalid_options(task):
    with pytest.raises(ValueError, match="--autocast must be one of"):
        FusedLabelSmoothedCrossEntropy(task, False, 0.1, autocast="int8")
    with pytest.raises(ValueError, match="--label-smoothing must be"):
        FusedLabelSmoothedCrossEntropy(task, False, 1.0)
    with pytest.raises(ValueError, match="--rdrop-alpha must be"):
        FusedLabelSmoothedCrossEntropy(task, False, 0.1, rdrop_alpha=-1.0)
