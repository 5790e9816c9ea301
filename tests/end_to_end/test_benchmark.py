"""scripts/benchmark.py train on the quick start's data."""

import json
import re


def test_training(command, quickstart, tmp_path):
    directory, _ = quickstart
    names = ["lrn_multi30k", "transformer, tiny"]
    output = command(
        *("python", "scripts/benchmark.py", "train", directory / "data-bin"),
        *("--setting", "multi30k", "--rounds", "1", "--updates", "5", "--max-tokens", "400"),
        *("--json", tmp_path / "figures.json", "--models", *names),
    )
    rows = re.findall(r"^\| (.+?) \| (\d+) \| \d+ to \d+ \| ([\d.]+) \|$", output, re.MULTILINE)
    assert [name for name, _, _ in rows] == names
    assert rows[0][2] == "1.00" and all(int(words) > 0 for _, words, _ in rows)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [len(row["words"]) for row in figures["comparisons"]] == [1, 1]


def test_bad_input(command, quickstart, tmp_path):
    run = ["python", "scripts/benchmark.py", "train"]
    output = command(*run, tmp_path, "--models", "gru", ok=False)
    assert "error: no model is called gru; choose from: lrn" in output
    output = command(*run, tmp_path, "--updates", "7", ok=False)
    assert "error: --updates must be a multiple of 5, not 7" in output
    output = command(*run, tmp_path, "--setting", "multi30k", "--models", "lrn_multi30k", ok=False)
    assert f"error: training lrn_multi30k on {tmp_path} failed; it printed last" in output
