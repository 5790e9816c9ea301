"""Parts of decoders that options choose."""

from torch import nn

from fairseq_lrn.models.decoder_config import DecoderConfig
from fairseq_lrn.models.decoder_parts import (
    build_output_projection,
    embedding_scale,
    recurrence_options,
)


def test_embedding_scale():
    table = nn.Embedding(5, 16)
    assert embedding_scale(DecoderConfig(), table) == 4.0
    assert embedding_scale(DecoderConfig(no_scale_embedding=True), table) == 1.0


def test_recurrence_options():
    config = DecoderConfig(cell="atr", layernorm_projection=True, no_projection_bias=True)
    expected = {"cell": "atr", "activation": "tanh", "bias": False, "norm": "layer"}
    assert recurrence_options(config) == expected


def test_output_projection():
    table = nn.Embedding(9, 16)
    shared = DecoderConfig(decoder_embed_dim=16, share_decoder_input_output_embed=True)
    assert build_output_projection(shared, table, 9).weight is table.weight
    own = build_output_projection(DecoderConfig(decoder_embed_dim=16), table, 9)
    assert own.weight is not table.weight and own.weight.shape == (9, 16)
