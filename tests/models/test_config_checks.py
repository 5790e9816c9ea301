"""Checks of model options: which values pass, and what the messages say."""

from dataclasses import dataclass
from typing import Optional

import pytest
from fairseq.dataclass import FairseqDataclass

from fairseq_lrn.models.config_checks import (
    check_activation,
    check_choices,
    check_counts,
    check_heads,
    check_layers_to_keep,
    check_probabilities,
    check_widths,
    option_name,
    warn_of_no_effect,
)
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig
from fairseq_lrn.models.reading.reader import LRNReaderConfig
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig


@dataclass
class Config(FairseqDataclass):
    layers: int = 2
    ffn_dim: int = 0
    embed_dim: int = 12
    heads: int = 4
    dropout: float = 0.1
    dropout_in: Optional[float] = None
    cell: str = "lrn"
    activation_fn: str = "tanh"


def test_option_name():
    assert option_name("encoder_embed_dim") == "--encoder-embed-dim"


def test_counts_and_widths():
    check_counts(Config(layers=1), "layers", "heads")
    check_widths(Config(ffn_dim=0), "ffn_dim")
    with pytest.raises(ValueError, match="^--layers must be at least 1, not 0$"):
        check_counts(Config(layers=0), "heads", "layers")
    with pytest.raises(ValueError, match="^--ffn-dim must be at least 0, not -1$"):
        check_widths(Config(ffn_dim=-1), "ffn_dim")


def test_heads():
    check_heads(Config(heads=3), "embed_dim", "heads")
    with pytest.raises(ValueError, match=r"--embed-dim \(12\) must be divisible by --heads \(5\)"):
        check_heads(Config(heads=5), "embed_dim", "heads")


@pytest.mark.parametrize("value", [0.0, 0.999, None])
def test_probabilities(value):
    check_probabilities(Config(dropout_in=value), "dropout", "dropout_in")


@pytest.mark.parametrize("value", [1.0, -0.1, float("nan")])
def test_values_that_are_no_probabilities(value):
    with pytest.raises(ValueError, match="--dropout-in is a probability: at least 0 and below 1"):
        check_probabilities(Config(dropout_in=value), "dropout", "dropout_in")


def test_activation():
    check_activation(Config(cell="atr", activation_fn="identity"))
    check_activation(Config(cell="gru"))  # the default has no effect
    with pytest.raises(ValueError, match="only to --cell lrn, olrn, atr; .* --cell gru are fixed"):
        check_activation(Config(cell="gru", activation_fn="identity"))


def test_choices():
    check_choices(Config(), cell=("lrn", "gru"))
    with pytest.raises(ValueError, match=r"--cell must be one of \('gru',\), not lrn"):
        check_choices(Config(), cell=["gru"])


@pytest.mark.parametrize("kept", ["0", "1", "0,2", "2,0"])
def test_layers_to_keep(kept):
    check_layers_to_keep("--layers-to-keep", kept, 3, keep_first=False)


@pytest.mark.parametrize("kept", ["3", "0,3", "x", "0,", "-1"])
def test_layers_that_do_not_exist(kept):
    message = f"--layers-to-keep {kept} must be numbers of layers, from 0 to 2"
    with pytest.raises(ValueError, match=message):
        check_layers_to_keep("--layers-to-keep", kept, 3, keep_first=False)


def test_first_layer_must_be_kept():
    check_layers_to_keep("--layers-to-keep", "2,0", 3, keep_first=True)
    with pytest.raises(ValueError, match="--layers-to-keep 1,2 must keep layer 0"):
        check_layers_to_keep("--layers-to-keep", "1,2", 3, keep_first=True)


def test_layers_to_keep_are_different():
    with pytest.raises(ValueError, match="--x 0,0 must name each layer once"):
        check_layers_to_keep("--x", "0,0", 2, keep_first=False)


@pytest.mark.parametrize("value, is_warned", [(0.1, False), (0.0, False), (0.5, True)])
def test_no_effect(caplog, value, is_warned):
    warn_of_no_effect(Config(dropout=value), "with --layers 1", "layers", "dropout")
    expected = ["--dropout 0.5 has no effect with --layers 1"] if is_warned else []
    assert caplog.messages == expected


@pytest.mark.parametrize(
    "config, options, message",
    [
        (
            LRNReaderConfig,
            {"character_encoder": "max", "character_hidden_size": 77},
            "--character-hidden-size 77 has no effect with --character-encoder max",
        ),
        (
            LRNReaderConfig,
            {"character_encoder": "max", "character_cell": "gru"},
            "--character-cell gru has no effect without --character-encoder rnn",
        ),
        (
            LRNReaderConfig,
            {"layers": 1, "all_layers": True},
            "--all-layers True has no effect with --layers 1",
        ),
        (
            LRNLanguageModelConfig,
            {"plain_layers": True, "decoder_layers": 1, "decoder_dropout_out": 0.5},
            "--decoder-dropout-out 0.5 has no effect with --plain-layers --decoder-layers 1",
        ),
        (
            LRNLanguageModelConfig,
            {
                "plain_layers": True,
                "decoder_layers": 1,
                "decoder_hidden_size": 77,
                "decoder_out_embed_dim": 8,
            },
            "--decoder-hidden-size 77 has no effect with --decoder-out-embed-dim and "
            "--decoder-layers 1",
        ),
        (
            RNMTConfig,
            {"decoder_layers": 1, "deep_attention": True},
            "--deep-attention True has no effect with --decoder-layers 1",
        ),
    ],
)
def test_options_without_effect(caplog, config, options, message):
    config(**options).check()
    assert caplog.messages == [message]
