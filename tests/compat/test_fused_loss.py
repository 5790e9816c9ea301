"""fairseq's decoders name their output matrix."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm import base_architecture as lstm_defaults
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture as transformer_defaults

from fairseq_lrn.compat.fused_loss import patch_output_layers


@pytest.fixture
def build(task):
    patch_output_layers()  # applied already

    def build(model, **options):
        if model is LSTMModel:
            names = ("encoder_embed_dim", "decoder_embed_dim", "decoder_out_embed_dim")
            defaults = lstm_defaults
        else:
            names = ("encoder_embed_dim", "encoder_ffn_embed_dim")
            defaults = transformer_defaults
        args = SimpleNamespace(criterion="", **{name: 16 for name in names}, **options)
        defaults(args)
        return model.build_model(args, task).eval()

    return build


def test_transformer(build):
    model = build(TransformerModel, share_decoder_input_output_embed=True)
    table, reason = model.decoder.output_table()
    assert table is model.decoder.embed_tokens.weight and reason == ""
    features = torch.randn(2, 3, 16)
    torch.testing.assert_close(model.decoder.output_layer(features), features @ table.t())


def test_transformer_with_adaptive_softmax(build):
    model = build(TransformerModel, adaptive_softmax_cutoff="9")
    assert model.decoder.output_table() == (None, "the model has an adaptive softmax")


def test_lstm_with_a_shared_matrix(build, batch):
    model = build(LSTMModel, share_decoder_input_output_embed=True)
    table, reason = model.decoder.output_table()
    assert table is model.decoder.embed_tokens.weight and reason == ""
    source, target = batch([5, 3]), batch([4, 4])
    lengths = torch.tensor([5, 3])
    features, _ = model.batch_features()(
        {"src_tokens": source, "src_lengths": lengths, "prev_output_tokens": target}
    )
    logits, _ = model(source, lengths, target)
    torch.testing.assert_close(features @ table.t(), logits)


def test_lstm_without_a_shared_matrix(build):
    table, reason = build(LSTMModel).decoder.output_table()
    assert table is None and "not a single matrix" in reason


def test_lstm_with_a_forward_of_its_own(build):
    class Overriding(LSTMModel):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    model = build(LSTMModel, share_decoder_input_output_embed=True)
    model.__class__ = Overriding
    assert model.batch_features() is None
