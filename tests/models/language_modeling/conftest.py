"""Fixtures for tests of language models."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary

from fairseq_lrn.models import LRNLanguageModel
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig

SMALL = {"decoder_embed_dim": 16, "decoder_hidden_size": 12, "dropout": 0.0}


@pytest.fixture
def lm_task():
    """A task whose dictionary has 36 words and made-up words at its end."""
    dictionary = Dictionary()
    for number in range(36):
        dictionary.add_symbol(f"word{number}", n=40 - number)
    dictionary.finalize(padding_factor=16)
    assert len(dictionary) == 48 and dictionary[40] == "madeupword0000"
    return SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)


@pytest.fixture
def build_lm(lm_task):
    """A function that builds a small language model, in evaluation mode."""

    def build(**options):
        torch.manual_seed(1)
        config = LRNLanguageModelConfig(**{**SMALL, **options})
        model = LRNLanguageModel.build_model(config, lm_task)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, std=0.3)
        return model.eval()

    return build


@pytest.fixture
def text():
    """Tokens ``4 x 25``."""
    torch.manual_seed(3)
    return torch.randint(2, 40, (4, 25))
