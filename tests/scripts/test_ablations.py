"""The ablations of ``scripts/ablations``, in training and in search."""

import pytest
import torch
from torch import nn

import ablations  # noqa: F401  (registers the ablations)

CHANGES = (
    "rms-norm",
    "scaled-residual",
    "open-forget-gates",
    "closed-forget-gates",
    "attention-in-last-layer",
    "no-recurrence",
    "no-attention",
)


@pytest.fixture
def changed(build):
    """A function that builds a small model with an ablation, or with None."""

    def changed(name, **options):
        if name == "rms-norm" and not hasattr(nn, "RMSNorm"):
            pytest.skip("torch before 2.4 has no RMSNorm")
        return build(ablation=name, layernorm_projection=True, activation_fn="identity", **options)

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
    parts = [part for part in changed("rms-norm").modules() if hasattr(part, "branch_input")]
    assert len(parts) == 6 and all(type(part.layer_norm) is nn.RMSNorm for part in parts)


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
    assert not hasattr(first, "encoder_attn")
    assert last.encoder_attn.k_proj.weight.grad.abs().max() > 0


def test_no_recurrence(changed, batch):
    """The output at a token depends on that token alone."""
    encoder = changed("no-recurrence").encoder
    tokens = batch([5])
    others = tokens.clone()
    others[0, 0] = 4 if tokens[0, 0] != 4 else 5
    first, second = (encoder(source)["encoder_out"][0] for source in (tokens, others))
    assert not torch.equal(first[0], second[0])
    torch.testing.assert_close(first[1:], second[1:])


def test_no_attention(changed, batch):
    """The output does not depend on the encoder's output."""
    model = changed("no-attention")
    encoder_out = model.encoder(batch([5]), None)
    target = batch([4], left=False)
    intact = model.decoder(target, encoder_out)[0]
    encoder_out["encoder_out"] = [torch.randn_like(encoder_out["encoder_out"][0])]
    torch.testing.assert_close(model.decoder(target, encoder_out)[0], intact)


def test_several(changed):
    model = changed("scaled-residual+closed-forget-gates")
    layer = model.encoder.layers[0]
    assert torch.all(layer.recurrence.cells[0].projection.norms[0].bias[12:24] == -1)
    x, branch = torch.randn(2, 3, 2, 16)
    torch.testing.assert_close(layer.residual(x, branch), torch.layer_norm(1.5 * x + branch, (16,)))


def test_unknown(changed):
    with pytest.raises(ValueError, match="--ablation abacus is not registered .*scripts/ablations"):
        changed("abacus")
