"""Fixtures for tests of models."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary

from fairseq_lrn.models import LRNLanguageModel
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig

SMALL_LM = {"decoder_embed_dim": 16, "decoder_hidden_size": 12, "dropout": 0.0}


@pytest.fixture
def undocumented(root):
    """A function: the options of a configuration that a page of the documentation lacks.

    A page has one row per option, with its default. If another table of the page repeats an option,
    *last_row* selects the last row.
    """

    def find(config_class, page, last_row=False):
        lines = (root / "docs" / page).read_text().splitlines()
        missing = []
        for field in dataclasses.fields(config_class):
            if field.name.startswith("_"):
                continue
            option = "--" + field.name.replace("_", "-")
            rows = [line.split("|") for line in lines if line.startswith(f"| `{option}` |")]
            has_default = field.default is not None and field.default is not False
            default = str(field.default) if has_default else ""
            if not rows or rows[-1 if last_row else 0][2].strip() != default:
                missing.append(option)
        return missing

    return find


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
        config = LRNLanguageModelConfig(**{**SMALL_LM, **options})
        model = LRNLanguageModel.build_model(config, lm_task)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, std=0.3)
        return model.eval()

    return build
