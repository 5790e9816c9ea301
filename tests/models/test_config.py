"""The options of the model."""

import dataclasses

from fairseq_lrn.models.config import LRNConfig


def test_every_option_is_documented(root):
    documentation = (root / "docs" / "model.md").read_text()
    for field in dataclasses.fields(LRNConfig):
        if not field.name.startswith("_"):
            option = "--" + field.name.replace("_", "-")
            assert f"| `{option}` |" in documentation, option
