"""The model ``transformer_lrn``: fairseq's encoder with our options, and the decoder's states.

What every model must do: test_contract.py.
"""

import pytest
import torch
from fairseq.models.transformer import TransformerEncoderBase

LENGTHS = [4, 7, 2, 7, 1]


@pytest.fixture
def build(builders):
    return builders["transformer_lrn"]


def test_encoder_is_fairseqs(build):
    encoder = build().encoder
    assert type(encoder) is TransformerEncoderBase
    assert (len(encoder.layers), encoder.embed_tokens.embedding_dim) == (2, 16)
    layer = encoder.layers[0]
    assert (layer.fc1.out_features, layer.self_attn.num_heads) == (24, 4)
    assert encoder.max_positions() == 1024


@pytest.mark.parametrize(
    "option",
    [
        {"encoder_attention_heads": 2},
        {"encoder_normalize_before": True},
        {"encoder_learned_pos": True},
        {"no_scale_embedding": True},
        {"encoder_layers": 1},
    ],
    ids=str,
)
def test_every_option_of_the_encoder_has_an_effect(build, batch, option):
    """With the weights of the default model, as far as they fit."""
    src, default, changed = batch(LENGTHS), build(), build(**option)
    own = changed.encoder.state_dict()
    weights = {
        name: value
        for name, value in default.encoder.state_dict().items()
        if name in own and own[name].shape == value.shape
    }
    changed.encoder.load_state_dict(weights, strict=False)
    before, after = (model.encoder(src)["encoder_out"][0] for model in (default, changed))
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("option", ["dropout", "attention_dropout", "activation_dropout"])
def test_dropout_of_the_encoder(build, batch, option):
    src = batch(LENGTHS)
    encoder = build(**{"dropout": 0.0, option: 0.5}).encoder.train()
    first, second = (encoder(src)["encoder_out"][0] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (encoder.eval()(src)["encoder_out"][0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("left", [True, False])
def test_initial_states_are_maps_of_the_mean_encoder_output(build, batch, left):
    model = build()
    encoder_out = model.encoder(batch(LENGTHS, left=left))
    memory = encoder_out["encoder_out"][0].transpose(0, 1)  # S x B x C to B x S x C
    means = torch.stack(
        [
            row[7 - length :].mean(0) if left else row[:length].mean(0)
            for row, length in zip(memory, LENGTHS)
        ]
    )
    for layer, state in zip(model.decoder.layers, model.decoder.initial_states(encoder_out)):
        torch.testing.assert_close(state[0], layer.init_proj(means))


def test_layers_to_keep(build):
    model = build(encoder_layers=3, encoder_layers_to_keep="0,2", decoder_layers_to_keep="1")
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (2, 1)


def test_onnx_export_is_unavailable(build):
    assert "TransformerLRNModel does not support it" in build().export_unavailable_reason()
