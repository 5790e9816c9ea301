"""The options of the model ``lrn_rnmt``. Messages for invalid options: tests/test_wrong_use.py."""

import pytest

from fairseq_lrn.models.translation.rnmt_config import RNMTConfig


def test_every_option_is_documented(undocumented):
    assert undocumented(RNMTConfig, "paper.md") == []


def test_defaults_are_valid():
    RNMTConfig().check()


def test_width_of_the_layers():
    sizes = {"embed_dim": 24, "hidden_size": 32}
    assert RNMTConfig(**sizes).layout_size == 24
    assert RNMTConfig(**sizes, layout="paper").layout_size == 32


def test_without_feature_layer_features_are_as_wide_as_the_embedding():
    sizes = {"embed_dim": 24, "hidden_size": 32, "no_feature_layer": True}
    RNMTConfig(**sizes).check()
    with pytest.raises(ValueError, match=r"equal --embed-dim \(24\) and --hidden-size \(32\)"):
        RNMTConfig(**sizes, layout="paper").check()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layout": "mine"}, "--layout must be one of .* not mine"),
        ({"cell": "rnn"}, "--cell must be one of .* not rnn"),
        ({"init_scale": float("inf")}, "--init-scale must be above 0 and finite"),
        ({"hidden_size": 12}, r"--hidden-size \(12\) must be divisible by --attention-heads \(8\)"),
    ],
)
def test_invalid_configurations_in_python(options, message):
    """The parser of the command line does not see them."""
    with pytest.raises(ValueError, match=message):
        RNMTConfig(**options).check()
