"""The options of the model ``lrn``. Messages for invalid options: tests/test_wrong_use.py."""

import pytest

from fairseq_lrn.models.translation.lrn_config import LRNConfig


def test_every_option_is_documented(undocumented):
    assert undocumented(LRNConfig, "model.md") == []


def test_defaults_are_valid():
    LRNConfig().check()


def test_dropout_probability():
    config = LRNConfig(dropout=0.3, decoder_dropout_in=0.0, encoder_dropout_out=0.2)
    options = ("decoder_dropout_in", "decoder_dropout_out", "encoder_dropout_out")
    assert [config.dropout_probability(option) for option in options] == [0.0, 0.3, 0.2]


def test_adaptive_softmax_cutoffs():
    config = LRNConfig(adaptive_softmax_cutoff="20,300")
    config.check()
    assert config.adaptive_softmax_cutoffs() == [20, 300]


def test_the_first_cutoff_is_beyond_padding():
    """Otherwise the class of the first tail has the number that the loss ignores."""
    with pytest.raises(ValueError, match="must be ascending numbers of tokens from 2 on"):
        LRNConfig(adaptive_softmax_cutoff="1").check()


def test_last_tail_has_a_width():
    """512 / 4 / 4 / 4 / 4 is 2, so the fifth tail is empty."""
    LRNConfig(adaptive_softmax_cutoff="2,3,4,5").check()
    with pytest.raises(ValueError, match="2,3,4,5,6 makes too many tails"):
        LRNConfig(adaptive_softmax_cutoff="2,3,4,5,6").check()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cell": "rnn"}, "--cell must be one of .*'lrn', 'olrn'.* not rnn"),
        ({"activation_fn": "relu"}, "--activation-fn must be one of .* not relu"),
        (
            {"cell": "gru", "activation_fn": "identity"},
            "the nonlinearities of --cell gru are fixed",
        ),
        ({"ablation": "abacus"}, "--ablation abacus is not registered"),
        ({"encoder_dropout_out": 1.0}, "--encoder-dropout-out is a probability"),
    ],
)
def test_invalid_configurations_in_python(options, message):
    """The parser of the command line does not see them."""
    with pytest.raises(ValueError, match=message):
        LRNConfig(**options).check()


def test_shared_embeddings():
    path = {"encoder_embed_path": "vectors.txt", "share_all_embeddings": True}
    LRNConfig(**path).check()
    LRNConfig(**path, decoder_embed_path="vectors.txt").check()
    with pytest.raises(ValueError, match="or the same file as --decoder-embed-path"):
        LRNConfig(**path, decoder_embed_path="other.txt").check()
    LRNConfig(
        share_all_embeddings=True, encoder_freeze_embed=True, decoder_freeze_embed=True
    ).check()
