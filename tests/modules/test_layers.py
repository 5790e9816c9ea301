"""Residual recurrent layers, with and without attention."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq_lrn.modules import LRNDecoderLayer, LRNEncoderLayer, RecurrentStack
from fairseq_lrn.modules.attention import DotProductAttention
from fairseq_lrn.modules.layers import (
    FeedForward,
    LayerParts,
    RecurrentBlock,
    ResidualNorm,
    build_decoder_step,
)

T, B, C, H, S, E, Z = 6, 5, 8, 4, 7, 10, 12
pre_and_post_norm = pytest.mark.parametrize("normalize_before", [False, True])


def decoder_layer(cell="lrn", **options):
    """A layer with attention."""
    return LRNDecoderLayer(C, H, cell, E, Z, attention_heads=2, **options).eval()


@pre_and_post_norm
def test_residual_norm(normalize_before, randomise):
    residual = randomise(ResidualNorm(C, 0.0, False, normalize_before, "Layer"))
    x, branch = torch.randn(T, B, C), torch.randn(T, B, C)
    norm = residual.layer_norm
    if normalize_before:
        assert torch.equal(residual.branch_input(x), norm(x))
        assert torch.equal(residual(x, branch), x + branch)
    else:
        assert torch.equal(residual.branch_input(x), x)
        assert torch.equal(residual(x, branch), norm(x + branch))


def test_dropout_of_the_branch_alone():
    x, branch = torch.randn(T, B, C), torch.ones(T, B, C)
    residual = ResidualNorm(C, 0.5, False, True, "Layer")
    kept = residual(x, branch) - x
    torch.testing.assert_close(kept.round(decimals=3).unique(), torch.tensor([0.0, 2.0]))
    locked = ResidualNorm(C, 0.5, True, True, "Layer")(x, branch) - x
    torch.testing.assert_close(locked, locked[:1].expand_as(locked))


@pre_and_post_norm
def test_feed_forward(normalize_before, randomise):
    block = FeedForward(C, 9, lambda: ResidualNorm(C, 0.0, False, normalize_before, "Layer"))
    randomise(block)
    x = torch.randn(T, B, C)
    norm = block.residual.layer_norm
    hidden = F.relu(block.fc1(norm(x) if normalize_before else x))
    expected = x + block.fc2(hidden)
    torch.testing.assert_close(block(x), expected if normalize_before else norm(expected))


@pre_and_post_norm
@pytest.mark.parametrize("ffn_dim", [0, 9])
def test_encoder_layer(normalize_before, ffn_dim, padding_mask):
    """A bidirectional recurrence and its projection in one branch, then the feed-forward block."""
    layer = LRNEncoderLayer(C, H, "lrn", ffn_dim=ffn_dim, normalize_before=normalize_before)
    x, h_0 = torch.randn(T, B, C), torch.randn(2, B, H)
    output, h_n = layer(x, h_0, padding_mask)
    h, expected_h_n = layer.recurrence(layer.residual.branch_input(x), h_0, padding_mask)
    assert h.shape == (T, B, 2 * H) and torch.equal(h_n, expected_h_n)
    assert torch.equal(output, layer.ffn(layer.residual(x, layer.out_proj(h))))
    assert layer.initial_state(x).shape == (2, B, H)
    assert not layer.attends


@pre_and_post_norm
@pytest.mark.parametrize("ffn_dim", [0, 9])
def test_decoder_layer_with_attention(normalize_before, ffn_dim, padding_mask):
    layer = decoder_layer(ffn_dim=ffn_dim, normalize_before=normalize_before)
    x, memory = torch.randn(T, B, C), torch.randn(S, B, E)
    state = layer.state_from_encoder(torch.randn(B, Z))
    assert state.shape == (1, B, H) and layer.attends
    memory_mask = torch.zeros(B, S, dtype=torch.bool)
    memory_mask[1, 4:] = True
    keys, values = layer.project_memory(memory)
    output, final, attn = layer(x, state, padding_mask, keys, values, memory_mask, need_attn=True)
    h, expected_final = layer.recurrence(layer.residual.branch_input(x), state, padding_mask)
    y = layer.residual(x, layer.out_proj(h))
    residual = layer.encoder_attn_residual
    context, weights = layer.encoder_attn(
        residual.branch_input(y), keys, values, memory_mask, need_weights=True
    )
    assert torch.equal(output, layer.ffn(residual(y, context)))
    assert torch.equal(final, expected_final) and torch.equal(attn, weights)
    assert layer(x, state, None, keys, values)[2] is None


@pytest.mark.parametrize("cell", ["lrn", "lstm"])
def test_decoder_layer_without_attention(cell, padding_mask):
    """A language model needs no source: such a layer runs over a sequence or step by step."""
    layer = LRNDecoderLayer(C, H, cell, ffn_dim=9).eval()
    assert not layer.attends and not any("attn" in name for name in layer.state_dict())
    x = torch.randn(T, B, C)
    h_0 = layer.initial_state(x)
    output, h_n, attn = layer(x, h_0, padding_mask)
    assert output.shape == (T, B, C) and h_n.shape == h_0.shape and attn is None
    output, h_n, _ = layer(x, h_0)
    state = h_0[0]
    for t in range(T):
        y, state, _ = layer(x[t].unsqueeze(0), state, one_position=True)
        torch.testing.assert_close(y[0], output[t], rtol=0, atol=1e-5)
    torch.testing.assert_close(state, h_n[0], rtol=0, atol=1e-5)


def test_every_branch_has_dropout():
    """If nearly every element of a branch is dropped, only the residual stream is left."""
    layer = decoder_layer(dropout=0.999999).train()
    x, state = torch.randn(3, 2, C), torch.randn(1, 2, H)
    output, _, _ = layer(x, state, None, *layer.project_memory(torch.randn(4, 2, E)))
    expected = layer.encoder_attn_residual.layer_norm(layer.residual.layer_norm(x))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_retained_dropout_is_selected_by_the_name_of_the_layer():
    layer = decoder_layer(dropout=0.5)
    for name, module in layer.named_modules():
        if hasattr(module, "make_generation_fast_"):
            module.make_generation_fast_(
                name=name, retain_dropout=True, retain_dropout_modules=["LRNDecoderLayer"]
            )
    x, state = torch.randn(T, B, C), torch.randn(1, B, H)
    memory = layer.project_memory(torch.randn(S, B, E))
    outputs = [layer(x, state, None, *memory)[0] for _ in range(2)]
    assert not torch.equal(*outputs)


def test_parameter_names():
    """Checkpoints have these names, in the order of construction."""
    layer = decoder_layer(ffn_dim=9)
    modules = (
        "recurrence.cells.0.projection init_proj out_proj residual.layer_norm encoder_attn.q_proj"
        " encoder_attn.k_proj encoder_attn.v_proj encoder_attn.out_proj"
        " encoder_attn_residual.layer_norm ffn.fc1 ffn.fc2 ffn.residual.layer_norm"
    )
    assert list(layer.state_dict()) == [
        f"{module}.{name}" for module in modules.split() for name in ("weight", "bias")
    ]


class DoubledResidual(ResidualNorm):
    def forward(self, x, branch):
        return super().forward(2 * x, branch)


class NoAttention(DotProductAttention):
    def forward(self, query, *args):
        return torch.zeros_like(query), None


def test_parts_are_replaced():
    parts = replace(LayerParts(), residual=DoubledResidual, attention=NoAttention)
    layer = decoder_layer(ffn_dim=9, parts=parts)
    for residual in (layer.residual, layer.encoder_attn_residual, layer.ffn.residual):
        assert type(residual) is DoubledResidual
    assert type(layer.encoder_attn) is NoAttention


def test_block_in_one_direction_or_both():
    for bidirectional in (False, True):
        block = RecurrentBlock(C, H, "gru", bidirectional=bidirectional)
        x = torch.randn(T, B, C)
        output, h_n = block(x, block.initial_state(x))
        assert output.shape == (T, B, C) and h_n.shape == (1 + bidirectional, B, H)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="divisible by the number of attention heads"):
        LRNDecoderLayer(C, H, "lrn", E, attention_heads=3)


def test_parameters_of_the_fused_step():
    """See tests/ops/test_decoder_step.py for the step itself."""
    layer = decoder_layer(cell="olrn", ffn_dim=9, norm="layer")
    parameters = layer.fused_parameters()
    assert parameters["gates_weight"].shape == (4 * H, C)
    assert parameters["gates_bias"] is None  # the shift of the norm is the bias
    assert parameters["gates_norm_gain"].shape == (4 * H,)
    assert parameters["ffn_in_weight"].shape == (9, C)
    assert parameters["attention_norm_shift"] is layer.encoder_attn_residual.layer_norm.bias
    without_ffn = decoder_layer().fused_parameters()
    assert not any(name.startswith("ffn") for name in without_ffn)
    assert without_ffn["gates_norm_gain"] is None


def retained_dropout():
    layer = decoder_layer(dropout=0.1)
    layer.residual.dropout_module.apply_during_inference = True
    return layer


@pytest.mark.parametrize(
    "build",
    [
        lambda: decoder_layer(cell="gru"),
        lambda: decoder_layer(parts=replace(LayerParts(), residual=DoubledResidual)),
        lambda: decoder_layer(parts=replace(LayerParts(), attention=NoAttention)),
        retained_dropout,
    ],
    ids=["another cell", "another residual", "another attention", "dropout"],
)
def test_layers_that_the_fused_step_cannot_compute(build):
    layer = build()
    assert layer.fused_parameters() is None
    assert build_decoder_step(RecurrentStack([decoder_layer(), layer])) is None


def test_rms_norm_is_not_in_the_fused_step():
    if not hasattr(nn, "RMSNorm"):
        pytest.skip("this version of torch has no RMS norm")
    assert decoder_layer(norm="rms").fused_parameters() is None


@pytest.mark.parametrize("option", [{"normalize_before": True}, {"activation": "identity"}])
def test_layers_of_different_options_have_no_fused_step(option):
    layers = [decoder_layer(), decoder_layer(**option)]
    assert all(layer.fused_parameters() is not None for layer in layers)
    assert build_decoder_step(RecurrentStack(layers)) is None
