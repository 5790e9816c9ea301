"""The options of the model ``transformer_lrn``."""

import pytest

from fairseq_lrn.models.translation.transformer_lrn_config import TransformerLRNConfig


def test_every_option_is_documented(undocumented):
    """The options of the encoder have a table of their own after the table of ``lrn``."""
    assert undocumented(TransformerLRNConfig, "model.md", last_row=True) == []


def test_defaults_are_valid():
    TransformerLRNConfig().check()


def test_options_of_a_recurrent_encoder_do_not_exist():
    assert not hasattr(TransformerLRNConfig(), "encoder_hidden_size")
    assert not hasattr(TransformerLRNConfig(), "encoder_dropout_in")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"encoder_ffn_embed_dim": 0}, "--encoder-ffn-embed-dim must be at least 1, not 0"),
        ({"activation_dropout": 1.0}, "--activation-dropout is a probability"),
        ({"encoder_attention_heads": 3}, r"divisible by --encoder-attention-heads \(3\)"),
        ({"decoder_layers": 0}, "--decoder-layers must be at least 1"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        TransformerLRNConfig(**options).check()
