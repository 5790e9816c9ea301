"""Architectures of another task are refused before a model is built."""

from argparse import Namespace

import pytest
from fairseq.models import FairseqEncoderDecoderModel, FairseqLanguageModel

import fairseq_lrn.models  # noqa: F401, which registers the architectures
from fairseq_lrn.errors import InputError
from fairseq_lrn.tasks.architectures import check_architecture


@pytest.mark.parametrize("name", ["lrn_lm", "lrn_classifier", "lrn_reader_squad", "lstm_lm"])
def test_refused(name):
    for cfg in (Namespace(arch=name), Namespace(_name=name)):
        with pytest.raises(
            InputError, match=f"^--arch {name} is for another task: .* such as lrn,"
        ):
            check_architecture(cfg, FairseqEncoderDecoderModel, "translation_lrn", "lrn")


@pytest.mark.parametrize("name", ["lrn", "lrn_tiny", "lrn_rnmt", "transformer", "lstm", "unknown"])
def test_allowed(name):
    cfg = Namespace(_name=name)
    check_architecture(cfg, FairseqEncoderDecoderModel, "translation_lrn", "lrn")
    if name != "unknown":
        with pytest.raises(InputError, match="give --task lm an architecture such as lrn_lm"):
            check_architecture(cfg, FairseqLanguageModel, "lm", "lrn_lm")
