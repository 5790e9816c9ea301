"""The changes of ``scripts/ablations`` change what they say, in training and in search."""

import importlib.util

import pytest
import torch
from torch import nn

from fairseq_lrn.modules.layers import ResidualNorm

CHANGES = (
    "rms-norm",
    "scaled-residual",
    "open-forget-gates",
    "closed-forget-gates",
    "attention-in-last-layer",
)


@pytest.fixture
def changed(root, monkeypatch, build):
    """A function that builds a small model with a change of the code, or without (None)."""
    monkeypatch.delenv("LRN_CHANGE", raising=False)
    spec = importlib.util.spec_from_file_location(
        "ablations", root / "scripts" / "ablations" / "__init__.py"
    )
    ablations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablations)
    assert tuple(ablations.CHANGES) == CHANGES

    def changed(name, **options):
        if name == "rms-norm" and not hasattr(nn, "RMSNorm"):
            pytest.skip("torch before 2.4 has no RMSNorm")
        if name is not None:
            ablations.CHANGES[name](monkeypatch.setattr)
        return build(layernorm_projection=True, activation_fn="identity", **options)

    return changed


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_search_computes_the_changed_model(changed, batch, change):
    source, target = batch([5, 3]), batch([4, 4], left=False)
    intact = changed(None)(source, None, target)[0]
    model = changed(change)
    assert not torch.allclose(model(source, None, target)[0], intact, atol=1e-3)
    encoder_out = model.encoder(source, None)
    whole, _ = model.decoder(target, encoder_out, features_only=True)
    state = model.decoder.start_search(encoder_out)
    for position in range(4):
        features = model.decoder.search_step(target[None, :, position], state)
        torch.testing.assert_close(features, whole[:, position], rtol=0, atol=1e-5)


def test_rms_norm(changed):
    norms = [one.layer_norm for one in changed("rms-norm").modules() if type(one) is ResidualNorm]
    assert len(norms) == 6 and all(type(norm) is nn.RMSNorm for norm in norms)


def test_scaled_residual(changed):
    residual = changed("scaled-residual").encoder.layers[0].residual
    x, branch = torch.randn(2, 3, 2, 16)
    expected = torch.layer_norm(1.5 * x + branch, (16,))
    torch.testing.assert_close(residual(x, branch), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("change, bias", [("open-forget-gates", 1), ("closed-forget-gates", -1)])
def test_forget_bias(changed, change, bias):
    model = changed(change)
    for layer in [*model.encoder.layers, *model.decoder.layers]:
        for cell in layer.recurrence.cells:
            k, q, v = cell.projection.norms[0].bias.chunk(3)
            assert torch.all(q == bias) and torch.all(k == 0) and torch.all(v == 0)


def test_attention_in_last_layer(changed, batch):
    model = changed("attention-in-last-layer")
    model(batch([5, 3]), None, batch([4, 4], left=False))[0].sum().backward()
    first, last = model.decoder.layers
    assert first.encoder_attn.k_proj.weight.grad is None
    assert last.encoder_attn.k_proj.weight.grad.abs().max() > 0
