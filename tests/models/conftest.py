"""Fixtures for tests of models."""

import dataclasses

import pytest


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
