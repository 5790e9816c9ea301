"""The options of the models."""

import dataclasses

import pytest

from fairseq_lrn.models.translation.lrn_config import LRNConfig
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.models.translation.transformer_lrn_config import TransformerLRNConfig


@pytest.mark.parametrize(
    "config, page",
    [(LRNConfig, "model.md"), (TransformerLRNConfig, "model.md"), (RNMTConfig, "paper.md")],
)
def test_every_option_is_documented(root, config, page):
    lines = (root / "docs" / page).read_text().splitlines()
    for field in dataclasses.fields(config):
        if not field.name.startswith("_"):
            option = "--" + field.name.replace("_", "-")
            rows = [line for line in lines if line.startswith(f"| `{option}` |")]
            has_none = field.default is None or field.default is False
            default = "" if has_none else str(field.default)
            # The hybrid model has a table for what is its encoder's, behind that of all.
            own = len(rows) > 1 and config is TransformerLRNConfig
            assert len(rows) <= 2 and rows[own].split("|")[2].strip() == default, option
