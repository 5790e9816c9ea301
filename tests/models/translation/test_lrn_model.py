"""The model ``lrn``: the effect of its options, and the equations of docs/model.md."""

import pytest
import torch

from fairseq_lrn.modules import RecurrentStack
from kernels import needs_cpp

LENGTHS = [4, 7, 2, 7, 1]


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_adaptive_softmax(build, batch):
    """fairseq's module: it needs the targets in training; in decoding, it covers all tokens."""
    model = build(adaptive_softmax_cutoff="10,20", adaptive_softmax_dropout=0.1)
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    features, _ = net_output = model(src, None, prev)
    assert features.shape == (*prev.shape, 16)
    probabilities = model.get_normalized_probs(net_output, log_probs=False)
    assert probabilities.size(-1) == len(model.decoder.dictionary)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(prev.shape))
    cluster, target = model.decoder.adaptive_softmax(features, prev)
    assert [logits is None or logits.size(-1) for logits in cluster] == [12, 10, 14]
    assert (target[0] < 12).all()
    assert model.decoder.output_table() == (None, "the model has an adaptive softmax")


def test_dropout_on_every_branch(build, batch):
    """With a probability of almost 1, nothing of either branch of a decoder layer is left."""
    layer = build(dropout=0.0, decoder_dropout_out=0.999999).decoder.layers[0].train()
    x, h_0 = torch.randn(3, 2, 16), torch.randn(1, 2, 20)
    out, _, _ = layer(x, h_0, None, *layer.project_memory(torch.randn(4, 2, 16)))
    expected = layer.encoder_attn_residual.layer_norm(layer.residual.layer_norm(x))
    assert_same(out, expected)


def test_dropout_options(build, batch):
    """Each option alone has an effect. Without dropout, training is deterministic."""
    none = {"dropout": 0.0}
    dropout_options = [
        "encoder_dropout_in",
        "encoder_dropout_out",
        "decoder_dropout_in",
        "decoder_dropout_out",
        "attention_dropout",
    ]
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    model = build(**none).train()
    assert torch.equal(model(src, None, prev)[0], model(src, None, prev)[0])
    for option in dropout_options:
        model = build(**none, **{option: 0.5}).train()
        assert not torch.equal(model(src, None, prev)[0], model(src, None, prev)[0]), option


def test_sharing(build):
    tied = build(share_all_embeddings=True)
    assert tied.encoder.embed_tokens is tied.decoder.embed_tokens
    assert tied.decoder.output_projection.weight is tied.decoder.embed_tokens.weight
    half = build(share_decoder_input_output_embed=True)
    assert half.encoder.embed_tokens is not half.decoder.embed_tokens
    assert half.decoder.output_projection.weight is half.decoder.embed_tokens.weight


def test_layers_to_keep(build):
    model = build(encoder_layers=3, encoder_layers_to_keep="0,2", decoder_layers_to_keep="1")
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (2, 1)


def test_every_option_has_an_effect(build, batch):
    """With the weights of the default model, as far as they fit."""
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    default = build()
    expected = default(src, None, prev)[0]
    for option in (
        {"activation_fn": "identity"},
        {"no_scale_embedding": True},
        {"encoder_normalize_before": True},
        {"decoder_normalize_before": True},
        {"layernorm_projection": True},
        *({"cell": cell} for cell in ("olrn", "atr", "sru", "gru", "lstm")),
    ):
        model = build(**option)
        own, weights = model.state_dict(), default.state_dict()
        same = {
            name: w for name, w in weights.items() if name in own and own[name].shape == w.shape
        }
        model.load_state_dict(same, strict=False)
        logits = model(src, None, prev)[0]
        assert (logits - expected).abs().max() > 1e-3, option
    biases = [
        name for name in build(no_projection_bias=True).state_dict() if "projection.bias" in name
    ]
    assert biases == []


@pytest.mark.parametrize("option", ["dropout", "word_dropout"])
def test_dropout_of_both_sides_in_training_only(build, batch, option):
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    model = build(**{"dropout": 0.0, option: 0.5}).train()
    memory = model.encoder(src, None)
    assert not torch.equal(memory["encoder_out"][0], model.encoder(src, None)["encoder_out"][0])
    first, second = (model.decoder(prev, memory)[0] for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model(src, None, prev)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_computes_the_equations_of_the_documentation(build, batch):
    """The equations of docs/model.md in plain torch."""
    model = build(activation_fn="identity")
    src, prev = batch([5, 5, 5]), batch([4, 4, 4])
    encoder, decoder = model.encoder, model.decoder

    def recurrence(layer, x, initial):
        outputs = []
        for direction, (cell, state) in enumerate(zip(layer.cells, initial)):
            k, q, v = cell.projection(x).chunk(3, dim=-1)
            h = [None] * len(x)
            for t in range(len(x)) if direction == 0 else reversed(range(len(x))):
                state = torch.sigmoid(k[t] + state) * v[t] + torch.sigmoid(q[t] - state) * state
                h[t] = state
            outputs.append(torch.stack(h))
        return outputs

    x = 16**0.5 * encoder.embed_tokens(src).transpose(0, 1)  # B x S x C to S x B x C
    for layer in encoder.layers:
        zeros = torch.zeros(3, 12)
        forward, backward = recurrence(layer.recurrence, x, [zeros, zeros])
        x = layer.residual.layer_norm(x + layer.out_proj(torch.cat([forward, backward], dim=-1)))
    memory, z = x, torch.cat([forward[-1], backward[0]], dim=-1)

    x = 16**0.5 * decoder.embed_tokens(prev).transpose(0, 1)  # B x T x C to T x B x C
    for layer in decoder.layers:
        (h,) = recurrence(layer.recurrence, x, [layer.init_proj(z)])
        x = layer.residual.layer_norm(x + layer.out_proj(h))
        heads = []
        attention = layer.encoder_attn
        for q, k, v in zip(
            attention.q_proj(x).chunk(4, -1),
            attention.k_proj(memory).chunk(4, -1),
            attention.v_proj(memory).chunk(4, -1),
        ):
            weights = torch.einsum("tbc,sbc->bts", q, k).div(2.0).softmax(-1)
            heads.append(torch.einsum("bts,sbc->tbc", weights, v))
        context = attention.out_proj(torch.cat(heads, dim=-1))
        x = layer.encoder_attn_residual.layer_norm(x + context)
    # T x B x C to B x T x C to B x T x V
    expected = x.transpose(0, 1) @ decoder.output_projection.weight.t()
    assert_same(model(src, None, prev)[0], expected)


def test_pretrained_embeddings(build, task, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(f"1 16\nword7{' 2' * 16}\n")
    options = {"encoder_embed_path": str(path), "decoder_embed_path": str(path)}
    model = build(**options, encoder_freeze_embed=True)
    index = task.source_dictionary.index("word7")
    for embedding in (model.encoder.embed_tokens, model.decoder.embed_tokens):
        assert torch.equal(embedding.weight[index], torch.full((16,), 2.0))
    assert not model.encoder.embed_tokens.weight.requires_grad
    assert model.decoder.embed_tokens.weight.requires_grad


def test_onnx_export(build):
    """Which options prevent it."""
    assert build().export_unavailable_reason() == ""
    assert build(cell="olrn").export_unavailable_reason() == ""
    assert "only the cells lrn and olrn" in build(cell="gru").export_unavailable_reason()
    reason = build(adaptive_softmax_cutoff="10").export_unavailable_reason()
    assert "adaptive softmax" in reason


@needs_cpp
@pytest.mark.parametrize("options", [{}, {"encoder_normalize_before": True, "dropout": 0.2}])
def test_encoder_in_one_call(build, batch, options, monkeypatch):
    """Without gradients the encoder is one operator, which computes what its layers compute."""
    encoder = build(encoder_ffn_embed_dim=9, **options).eval().encoder
    tokens = batch(LENGTHS)
    calls = []
    monkeypatch.setattr(type(encoder.layers), "forward", counted(RecurrentStack.forward, calls))
    expected = encoder(tokens)
    assert len(calls) == 1
    with torch.no_grad():
        for _ in range(2):
            found = encoder(tokens)
            assert len(calls) == 1
            for name in ("encoder_out", "encoder_state"):
                torch.testing.assert_close(found[name][0], expected[name][0], rtol=0, atol=1e-5)
        assert len(encoder(tokens, return_all_hiddens=True)["encoder_states"]) == 2
        encoder.layers[1].out_proj.register_forward_hook(lambda *_: None)
        encoder(tokens)
        assert len(calls) == 3


@needs_cpp
def test_encoder_with_active_dropout(build, batch):
    encoder = build(dropout=0.5).eval().encoder
    with torch.no_grad():
        expected = encoder(batch(LENGTHS))["encoder_out"][0]
        encoder.layers.train()
        assert not torch.equal(encoder(batch(LENGTHS))["encoder_out"][0], expected)


def counted(method, calls):
    def count(*args):
        calls.append(1)
        return method(*args)

    return count


def test_encoder_under_autocast(build, batch):
    encoder = build().eval().encoder
    with torch.no_grad():
        expected = encoder(batch(LENGTHS))["encoder_out"][0]
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(batch(LENGTHS))["encoder_out"][0]
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)
    assert not torch.equal(found.float(), expected)
