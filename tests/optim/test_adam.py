"""torch's Adam as an optimiser of fairseq: the same updates as fairseq's own Adam."""

import copy

import pytest
import torch
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

from fairseq_lrn.optim import TorchAdam, adam
from fairseq_lrn.optim.adam import TorchAdamConfig


def configured(kind, **options):
    cfg = kind(**options)
    cfg.lr = [0.01]
    return cfg


def parameters():
    torch.manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in ((7, 5), (11,))]


def train(optimizer, steps, seed=3):
    torch.manual_seed(seed)
    for step in range(steps):
        optimizer.set_lr(0.01 / (1 + step))
        for param in optimizer.params:
            param.grad = torch.randn_like(param)
        optimizer.step()


def test_is_registered():
    assert OPTIMIZER_REGISTRY["torch_adam"] is TorchAdam


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_agrees_with_fairseqs(weight_decay):
    params, expected = parameters(), parameters()
    options = {"adam_betas": "(0.9, 0.98)", "weight_decay": weight_decay}
    train(TorchAdam(configured(TorchAdamConfig, **options), params), 20)
    train(FairseqAdam(configured(FairseqAdamConfig, **options), expected), 20)
    torch.testing.assert_close(params, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(params[0], parameters()[0])


def test_resumes_exactly():
    params, resumed = parameters(), parameters()
    optimizer = TorchAdam(configured(TorchAdamConfig), params)
    train(optimizer, 5)
    state = copy.deepcopy(optimizer.state_dict())
    other = TorchAdam(configured(TorchAdamConfig), resumed)
    for param, value in zip(resumed, params):
        param.data.copy_(value.data)
    other.load_state_dict(state)
    train(optimizer, 5, seed=4)
    train(other, 5, seed=4)
    assert all(torch.equal(*pair) for pair in zip(params, resumed))


needs_fused_adam = pytest.mark.skipif(
    torch.__version__ < (2, 4), reason="this torch has no fused Adam for the CPU"
)


@needs_fused_adam
def test_is_fused_on_the_cpu():
    assert TorchAdam(configured(TorchAdamConfig), parameters()).optimizer.defaults["fused"]


@pytest.mark.parametrize(
    "saved, here", [pytest.param(None, True, marks=needs_fused_adam), (True, None)]
)
def test_resumes_in_the_form_of_this_machine(monkeypatch, saved, here):
    monkeypatch.setattr(adam, "_can_fuse", lambda params: bool(here))
    optimizer = TorchAdam(configured(TorchAdamConfig), parameters())
    train(optimizer, 1)
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        group["fused"] = saved
    resumed = TorchAdam(configured(TorchAdamConfig), parameters())
    resumed.load_state_dict(state, resumed.optimizer_config)
    assert [group["fused"] for group in resumed.param_groups] == [here]
    train(resumed, 1)


@pytest.mark.parametrize("betas", ["0.9", "(0.9, 0.98, 1)", "('a', 1)", "0.9:0.98", "beta"])
def test_bad_betas(betas):
    with pytest.raises(ValueError, match="--adam-betas must be two numbers"):
        TorchAdam(configured(TorchAdamConfig, adam_betas=betas), parameters())
