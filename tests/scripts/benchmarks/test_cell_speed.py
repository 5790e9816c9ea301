"""Timing training and decoding with each cell, at small sizes."""

import pytest

from benchmarks import cell_speed, operator_speed
from benchmarks.cell_speed import Size, Times

SIZE = Size(8, 2, 3, words=20, tokens=5)


@pytest.mark.parametrize("cells, rows", [(["lrn", "gru"], ["lrn", "gru"]), (["gru"], ["gru"])])
def test_measure(monkeypatch, cells, rows):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    found = cell_speed.measure(rounds=1, sizes=[SIZE], cells=cells)
    assert [(times.size, times.cell) for times in found] == [(SIZE, cell) for cell in rows]
    for times in found:
        assert times.training > 0 and times.decoding > 0
    assert found[-1][-2:] == (1.0, 1.0)


def test_each_cell_is_compared_with_the_gru_of_its_own_turns(monkeypatch):
    gru = iter([10.0, 40.0])

    def compare(cell, size, rounds):
        baseline = next(gru)
        return [{cell: 5.0, "gru": baseline}, {cell: 2.0, "gru": 2 * baseline}]

    monkeypatch.setattr(cell_speed, "_compare", compare)
    lrn, atr, baseline = cell_speed.measure(1, [SIZE], ["lrn", "atr"])
    assert lrn == Times(SIZE, "lrn", 5.0, 2.0, 0.5, 0.1)
    assert atr == Times(SIZE, "atr", 5.0, 2.0, 0.125, 0.025)
    assert baseline == Times(SIZE, "gru", 25.0, 50.0, 1.0, 1.0)


def test_translations_are_as_long_as_the_sources():
    model = cell_speed._Model("lrn", SIZE)
    lengths = []
    model.prepare_for_decoding()
    generate = model.search.generate

    def record(models, sample):
        hypotheses = generate(models, sample)
        lengths.extend(len(best["tokens"]) for best, *_ in hypotheses)

    model.search.generate = record
    model.decode()
    assert lengths == [SIZE.tokens] * SIZE.pairs


def test_table():
    size = Size(128, 2, 150, 8000)
    rows = [Times(size, "lrn", 50.0, 1.0, 0.5, 0.25), Times(size, "gru", 1100.0, 4.0, 1.0, 1.0)]
    head, _, row, last = cell_speed.format_table(rows).splitlines()
    assert row == "| 128 | 2 + 2 | 150 | 8,000 | lrn | 50 | 0.50 | 1.00 | 0.25 |"
    assert "| 1,100 | 1.00 |" in last
    assert head.count("|") == row.count("|")
