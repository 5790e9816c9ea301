"""scripts/compare_cells.sh: the whole comparison, with short training runs."""

import re

import pytest


@pytest.fixture
def raw(multi30k, tmp_path):
    directory = tmp_path / "raw"
    directory.mkdir()
    for lang in ("en", "de"):
        for split, size in (("train", 400), ("val", 4), ("test_2016_flickr", 4)):
            lines = (multi30k / f"{split}.{lang}").read_text().splitlines(keepends=True)
            (directory / f"{split}.{lang}").write_text("".join(lines[:size]))
    return directory


def test_two_cells(command, raw, tmp_path):
    directory = tmp_path / "out"
    run = ["bash", "scripts/compare_cells.sh", raw, "--dir", directory, "--epochs", "1"]
    few = ["--", "--embed-dim", "32", "--hidden-size", "32"]
    few += ["--max-target-positions", "40"]  # an untrained model does not end its translations
    command(*run, "--cells", "gru", "--train-only", *few)
    assert not (directory / "cells-1.md").exists()
    output = command(*run, "--cells", "olrn gru", "--rounds", "1", *few)
    chosen = re.findall(r"olrn: valid bleu ([0-9.]+) with --lenpen [0-9.]+", output)
    assert len(chosen) == 3
    translations = (directory / "olrn-1" / "generate-valid.txt").read_text()
    assert f"BLEU4 = {max(chosen, key=float)}, " in translations
    assert "gru, seed 1: trained already" in output and "olrn, seed 1: train\n" in output
    rows = (directory / "cells-1.md").read_text().splitlines()
    assert re.match(r"processor: .*threads: \d", rows[0])
    table = {row.split(" | ")[0].strip("| "): row.strip("| ").split(" | ") for row in rows[2:]}
    assert float(table["gru"][4]) == 1.0 and float(table["gru"][6]) == 1.0
    assert table["olrn"][7] == "26.73"
    assert int(table["olrn"][1]) > 1e5
    bleu = (directory / "olrn-1" / "score-test.txt").read_text()
    assert f"BLEU4 = {table['olrn'][2]}" in bleu
    assert (directory / "cells-1.png").read_bytes().startswith(b"\x89PNG")
