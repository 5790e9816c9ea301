"""Timing models of several cells, and the table and plot of the comparison."""

import importlib.util

import pytest

from cell_comparison import PAPER, Result, format_table, measure, plot
from fairseq_lrn.errors import InputError

RESULTS = [Result("lrn", 5, 30.0, 100.0, 3.0), Result("lstm", 6, 31.0, 200.0, 4.0)]
GRU = Result("gru", 7, 32.0, 400.0, 2.0)


def test_measure(save_model, data, tmp_path):
    (tmp_path / "data-bin").symlink_to(data)
    sizes = ["--embed-dim", "16", "--hidden-size", "16", "--attention-heads", "2"]
    sizes += ["--encoder-layers", "1", "--decoder-layers", "1"]
    for cell in ("lrn", "gru"):
        path = tmp_path / f"{cell}-7" / "checkpoints" / "averaged.pt"
        save_model("--arch", "lrn_rnmt", "--cell", cell, *sizes, path=path)
        generated = "Generate test with beam=4: BLEU4 = 12.50, 40/20/10/5 (BP=1.000)\n"
        (tmp_path / f"{cell}-7" / "generate-test.txt").write_text(generated)
    lrn, gru = measure(str(tmp_path), ["lrn", "gru"], seed=7, rounds=1, max_tokens=200)
    assert (lrn.cell, gru.cell) == ("lrn", "gru")
    assert lrn.bleu == 12.5 and 0 < lrn.parameters < gru.parameters
    assert lrn.training > 0 and lrn.decoding > 0
    with pytest.raises(InputError, match="atr-7/checkpoints is missing: train first"):
        measure(str(tmp_path), ["atr"], seed=7, rounds=1)


def test_table():
    rows = format_table([*RESULTS, GRU]).splitlines()
    lrn = "| lrn | 5 | 30.00 | 100.00 | 0.25 | 3.00 | 1.50 | 26.26 | 0.99 | 0.37 | 36.50 | 0.80 |"
    assert rows[2] == lrn
    assert rows[3] == "| lstm | 6 | 31.00 | 200.00 | 0.50 | 4.00 | 2.00 | - | - | - | - | - |"
    assert rows[0].count("|") == rows[1].count("|") == rows[2].count("|")
    assert set(PAPER) == {"gru", "atr", "sru", "lrn", "olrn"}


def test_table_without_the_baseline():
    rows = format_table(RESULTS).splitlines()
    lrn = "| lrn | 5 | 30.00 | 100.00 | - | 3.00 | - | 26.26 | 0.99 | 0.37 | 36.50 | 0.80 |"
    assert rows[2] == lrn


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_plot(tmp_path):
    plot([*RESULTS, GRU], str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="the plot is relative to gru: measure gru as well"):
        plot(RESULTS, str(tmp_path / "plot.png"))
