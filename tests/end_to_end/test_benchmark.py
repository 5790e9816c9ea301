"""scripts/benchmark.py train, generate and step on the quick start's data."""

import json
import re

import torch

from fairseq_lrn.modules.linear import can_pack


def in_fewer_bits():
    """The rows that there are beside ours in float32, by the processor."""
    return [f"ours, {name}" for name in ("bfloat16", "int8") if can_pack(getattr(torch, name))]


def test_training(command, quickstart, tmp_path):
    directory, _ = quickstart
    names = ["lrn_multi30k", "transformer, tiny"]
    output = command(
        *("python", "scripts/benchmark.py", "train", directory / "data-bin"),
        *("--setting", "multi30k", "--rounds", "1", "--updates", "5", "--max-tokens", "400"),
        *("--subset", "valid", "--skip", "10"),
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
    output = command(*run, tmp_path, "--json", tmp_path / "absent" / "figures.json", ok=False)
    assert "figures.json: is there such a directory?" in output
    output = command(*run, tmp_path, "--updates", "7", ok=False)
    assert "error: --updates must be a multiple of 5, not 7" in output
    output = command(*run, tmp_path, "--skip", "0", ok=False)
    assert "error: --skip must be a multiple of 5, not 0" in output
    output = command(*run, tmp_path, "--setting", "multi30k", "--models", "lrn_multi30k", ok=False)
    assert f"error: training lrn_multi30k on {tmp_path} failed; it printed last" in output


def test_generation(cold_command, quickstart, tmp_path):
    directory, _ = quickstart
    output = cold_command(  # memory is measured
        *("python", "scripts/benchmark.py", "generate", directory / "data-bin"),
        *("--model", f"ours={directory / 'checkpoints' / 'checkpoint_best.pt'}"),
        *("--batch-sizes", "40", "--rounds", "1", "--json", tmp_path / "figures.json"),
    )
    rows = re.findall(
        r"^\| (.+?) \| 40 \| [\d.]+ \| [\d.]+ to [\d.]+ \| ([\d.]+) \| [\d.]+ \| ([\d.]+) "
        r"\| (\d+) \|$",
        output,
        re.MULTILINE,
    )
    figures = {name: (float(ratio), float(bleu), int(size)) for name, ratio, bleu, size in rows}
    assert set(figures) == {"ours", "ours, fairseq's search", *in_fewer_bits()}
    assert figures["ours"][0] == 1.0
    # The same translations; and it is a model that translates.
    assert figures["ours"][1] == figures["ours, fairseq's search"][1] > 20
    assert all(size > 100 for _, _, size in figures.values())
    saved = json.loads((tmp_path / "figures.json").read_text())["comparisons"]
    assert [row["name"] for row in saved] == [name for name, *_ in rows]


def test_generation_with_bad_input(command, quickstart, tmp_path):
    directory, _ = quickstart
    run = ["python", "scripts/benchmark.py", "generate", directory / "data-bin"]
    assert "invalid named value: 'ours'" in command(*run, "--model", "ours", ok=False)
    checkpoint = directory / "checkpoints" / "checkpoint_best.pt"
    output = command(*run, "--model", f"ours={checkpoint}", "--rows", "theirs", ok=False)
    assert "error: no model is called theirs; choose from: ours; ours, " in output
    twice = ["--model", f"ours={checkpoint}"] * 2
    assert "error: two models are called ours" in command(*run, *twice, ok=False)
    absent = tmp_path / "absent.pt"
    output = command(*run, "--model", f"ours={absent}", ok=False)
    assert f"error: cannot read checkpoint {absent}" in output
    output = command(*run, "--model", f"ours={checkpoint}", "--subset", "dev", ok=False)
    assert f"error: {directory / 'data-bin'} has no subset dev; give another --subset" in output
    (tmp_path / "dict.en.txt").touch()
    output = command(*run[:3], tmp_path, "--model", f"ours={checkpoint}", ok=False)
    assert f"error: {tmp_path} has no data that fairseq-preprocess made" in output
    output = command(*run[:3], absent, "--model", f"ours={checkpoint}", ok=False)
    assert f"error: {absent} has no data that fairseq-preprocess made" in output


def test_decoding_step(command, quickstart, tmp_path):
    directory, _ = quickstart
    output = command(
        *("python", "scripts/benchmark.py", "step", directory / "data-bin", "--subset", "valid"),
        *("--model", f"ours={directory / 'checkpoints' / 'checkpoint_best.pt'}"),
        *("--batch-sizes", "8", "--rounds", "1", "--json", tmp_path / "figures.json"),
    )
    searches = re.findall(r"^\| ours \| (.+?) \| 8 \| [\d.]+ \|", output, re.MULTILINE)
    assert searches == ["fairseq's", "ours", *in_fewer_bits()]
    theirs, ours = json.loads((tmp_path / "figures.json").read_text())["comparisons"][:2]
    for shares in (theirs["shares"], ours["shares"]):
        assert all(share > 0 for share in shares.values()) and abs(sum(shares.values()) - 1) < 1e-6
    # Both searches decode the same positions; only fairseq's copies hypotheses.
    assert theirs["steps"] == ours["steps"] > 5
    assert theirs["milliseconds"] > 0 and ours["shares"]["products"] > 0.02


def test_scaling_goes_on_after_an_interruption(command, tmp_path):
    figures = tmp_path / "figures.json"
    run = ["python", "scripts/benchmark.py", "scaling", "--resume"]
    run += ["--models", "lrn", "--kinds", "decode", "--lengths", "4"]
    assert "error: --resume needs --json FILE" in command(*run, ok=False)
    first = command(*run, "--json", figures).splitlines()
    assert first[-1].startswith("| decode | 4 | 4 | lrn | ")
    more = command(*run, "8", "--json", figures).splitlines()
    assert more[-2] == first[-1] and more[-1].startswith("| decode | 8 | 4 | lrn | ")
    saved = json.loads(figures.read_text())
    assert [cost["length"] for cost in saved["comparisons"]] == [4, 8]
    # Fewer are asked for: none is measured, and none is lost.
    assert command(*run, "--json", figures).splitlines()[-1] == first[-1]
    assert json.loads(figures.read_text()) == saved
    figures.write_text("{}")
    output = command(*run, "--json", figures, ok=False)
    assert f"error: {figures} has no figures of scaling" in output
    figures.write_text(json.dumps({**saved, "machine": {"processor": "another"}}))
    output = command(*run, "--json", figures, ok=False)
    assert f"error: {figures} was measured elsewhere (processor: another)" in output
