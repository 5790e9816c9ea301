"""Selecting rows by name, and printing them."""

from types import SimpleNamespace

import pytest

from benchmarks.rows import markdown_table, select_rows
from fairseq_lrn.errors import InputError

CANDIDATES = [SimpleNamespace(name=name) for name in ("lrn", "lstm", "transformer, tiny")]


def test_selection_keeps_the_order():
    assert select_rows(CANDIDATES, None) == CANDIDATES
    assert select_rows(CANDIDATES, ["transformer, tiny", "lrn"]) == [CANDIDATES[0], CANDIDATES[2]]


def test_unknown_name():
    with pytest.raises(InputError, match="called abacus, gru; choose from: lrn; lstm; trans"):
        select_rows(CANDIDATES, ["gru", "lrn", "abacus"])


def test_markdown_table():
    table = markdown_table(("model", "kind", "ms"), [("lrn", "fused", 1.5)], text=("model", "kind"))
    assert table.splitlines() == [
        "| model | kind | ms |",
        "| --- | --- | ---: |",
        "| lrn | fused | 1.5 |",
    ]
    assert "| --- | ---: |" in markdown_table(("model", "ms"), [])
    assert "| ---: | ---: |" in markdown_table(("words", "ms"), [], text=())
