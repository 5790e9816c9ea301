"""The named architectures: the paper's numbers of parameters (see TASKS.md 1.4 and README)."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_lrn.models import LRNLanguageModel
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig

# Millions of parameters, from the authors' README for PTB; WikiText-2 counted from their code.
PTB = {"lstm": 21.49, "gru": 17.47, "atr": 9.45, "sru": 12.59, "lrn": 10.79}
WIKITEXT2 = {"lstm": 34.90, "gru": 29.41, "atr": 18.44, "sru": 22.63, "lrn": 20.21}
WORDS = {"lrn_lm_ptb": 10_000, "lrn_lm_wikitext2": 33_278}
COUNTS = [("lrn_lm_ptb", *row) for row in PTB.items()]
COUNTS += [("lrn_lm_wikitext2", *row) for row in WIKITEXT2.items()]


@pytest.mark.parametrize("name, cell, millions", COUNTS)
def test_number_of_parameters(name, cell, millions):
    """Without the rows of ``<s>`` and ``<pad>``, which the authors' vocabulary does not have."""
    args = Namespace(cell=cell)
    ARCH_CONFIG_REGISTRY[name](args)
    dictionary = Dictionary()  # its </s> and <unk> are words of the corpus
    for number in range(WORDS[name] - 2):
        dictionary.add_symbol(f"word{number}")
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    with torch.device("meta"):
        model = LRNLanguageModel.build_model(
            LRNLanguageModelConfig.from_namespace(fill(args)), task
        )
    count = sum(parameter.numel() for parameter in model.parameters())
    count -= 2 * (args.decoder_embed_dim + 1)  # rows of the embedding, elements of the bias
    assert round(count / 1e6, 2) == millions


def fill(args):
    """The namespace with the defaults of the options that the architecture leaves out."""
    config = LRNLanguageModelConfig(**vars(args))
    return Namespace(**vars(config))


def test_given_options_win():
    args = Namespace(decoder_layers=1, mixture_of_softmaxes=0)
    ARCH_CONFIG_REGISTRY["lrn_lm_ptb"](args)
    assert args.decoder_layers == 1 and args.mixture_of_softmaxes == 0 and args.plain_layers
