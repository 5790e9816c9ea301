"""The options of the model ``lrn_lm``."""

import pytest

from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig


def test_every_option_is_documented(undocumented):
    assert undocumented(LRNLanguageModelConfig, "language_models.md") == []


def test_defaults_are_valid():
    LRNLanguageModelConfig().check()


def test_output_size():
    assert LRNLanguageModelConfig(decoder_embed_dim=8).output_size == 8
    plain = {"plain_layers": True, "decoder_hidden_size": 9}
    assert LRNLanguageModelConfig(**plain).output_size == 9
    assert LRNLanguageModelConfig(**plain, decoder_out_embed_dim=7).output_size == 7


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mixture_of_softmaxes": -1}, "--mixture-of-softmaxes must be at least 0"),
        ({"type_dropout": 1.0}, "--type-dropout is a probability"),
        ({"weight_dropout": -0.1}, "--weight-dropout is a probability"),
        ({"embed_init_range": 0.0}, "--embed-init-range must be above 0"),
        (
            {"embed_init_range": 0.1, "decoder_embed_path": "vectors.txt"},
            "--embed-init-range has no effect with --decoder-embed-path",
        ),
        (
            {"cell": "sru", "recurrent_weight_dropout": 0.5},
            "--recurrent-weight-dropout has no effect with --cell sru",
        ),
        ({"decoder_out_embed_dim": 8}, "--decoder-out-embed-dim needs --plain-layers"),
        (
            {"plain_layers": True, "decoder_ffn_embed_dim": 8},
            "--decoder-ffn-embed-dim has no effect with --plain-layers",
        ),
        (
            {"plain_layers": True, "decoder_normalize_before": True},
            "--decoder-normalize-before has no effect with --plain-layers",
        ),
        ({"mixture_dropout": 0.1}, "--mixture-dropout needs --mixture-of-softmaxes"),
        ({"max_target_positions": -5}, "--max-target-positions must be"),
        (
            {"adaptive_softmax_cutoff": "10", "output_bias": True},
            "--adaptive-softmax-cutoff conflicts with",
        ),
        (
            {
                "plain_layers": True,
                "decoder_out_embed_dim": 8,
                "share_decoder_input_output_embed": True,
            },
            r"width of the last layer \(8\) to match --decoder-embed-dim \(512\)",
        ),
        (
            {
                "plain_layers": True,
                "decoder_out_embed_dim": 8,
                "adaptive_softmax_cutoff": "10",
            },
            r"--adaptive-softmax-cutoff requires the width of the last layer \(8\)",
        ),
        ({"cell": "gru", "activation_fn": "identity"}, "nonlinearities of --cell gru are fixed"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ValueError, match=message):
        LRNLanguageModelConfig(**options).check()
