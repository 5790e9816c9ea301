"""Options of all models with LRN decoder layers; the models' own tests cover each of them."""

import pytest

from fairseq_lrn.models.decoder_config import DecoderConfig
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig
from fairseq_lrn.models.translation.lrn_config import LRNDecoderConfig

KINDS = [DecoderConfig, LRNDecoderConfig, LRNLanguageModelConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_softmax_without_cutoffs(kind, caplog):
    options = {"adaptive_softmax_dropout": 0.1, "adaptive_softmax_factor": 2.0}
    kind(**options).check()
    assert caplog.messages == [
        "--adaptive-softmax-dropout 0.1 has no effect without --adaptive-softmax-cutoff",
        "--adaptive-softmax-factor 2.0 has no effect without --adaptive-softmax-cutoff",
    ]
    caplog.clear()
    kind(adaptive_softmax_cutoff="10", **options).check()
    kind().check()
    assert caplog.messages == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options, message",
    [
        ({"decoder_layers": 0}, "--decoder-layers must be at least 1"),
        ({"dropout": 1.0}, "--dropout is a probability"),
        ({"decoder_ffn_embed_dim": -1}, "--decoder-ffn-embed-dim must be at least 0"),
        (
            {"adaptive_softmax_cutoff": "10", "share_decoder_input_output_embed": True},
            "add --adaptive-softmax-factor 1",
        ),
    ],
)
def test_checked_in_every_model(kind, options, message):
    kind().check()
    with pytest.raises(ValueError, match=message):
        kind(**options).check()
