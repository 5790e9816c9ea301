"""scripts/benchmark.py: real runs, on the data of the quick start."""

import json
import re

import torch

from fairseq_lrn.modules.linear import can_pack


def reduced_precision(name):
    """Rows of *name* in the types of reduced precision that the processor supports."""
    return [f"{name}, {dtype}" for dtype in ("bfloat16", "int8") if can_pack(getattr(torch, dtype))]


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


def test_failed_training(command, tmp_path):
    run = ["python", "scripts/benchmark.py", "train", tmp_path]
    output = command(*run, "--setting", "multi30k", "--models", "lrn_multi30k", ok=False)
    assert f"error: training lrn_multi30k on {tmp_path} failed; its last output was" in output


def test_generation(cold_command, quickstart, tmp_path):
    directory, _ = quickstart
    output = cold_command(  # memory is measured
        *("python", "scripts/benchmark.py", "generate", directory / "data-bin"),
        *("--model", f"lrn={directory / 'checkpoints' / 'checkpoint_best.pt'}"),
        *("--batch-sizes", "40", "--rounds", "1", "--json", tmp_path / "figures.json"),
    )
    rows = re.findall(
        r"^\| (.+?) \| 40 \| \d+ \| [\d.]+ \| [\d.]+ to [\d.]+ \| ([\d.]+) \| [\d.]+ \| ([\d.]+) "
        r"\| (\d+) \|$",
        output,
        re.MULTILINE,
    )
    figures = {name: (float(ratio), float(bleu), int(size)) for name, ratio, bleu, size in rows}
    assert set(figures) == {"lrn", "lrn, fairseq's search", *reduced_precision("lrn")}
    assert figures["lrn"][0] == 1.0
    # Both searches find the same translations, and the model has learned to translate.
    assert figures["lrn"][1] == figures["lrn, fairseq's search"][1] > 20
    assert all(size > 100 for _, _, size in figures.values())
    saved = json.loads((tmp_path / "figures.json").read_text())["comparisons"]
    assert [row["name"] for row in saved] == [name for name, *_ in rows]


def test_generation_with_bad_input(command, quickstart, tmp_path):
    run = ["python", "scripts/benchmark.py", "generate", quickstart[0] / "data-bin"]
    absent = tmp_path / "absent.pt"
    output = command(*run, "--model", f"lrn={absent}", ok=False)
    assert f"error: cannot read checkpoint {absent}" in output


def test_decoding_step(command, quickstart, tmp_path):
    directory, _ = quickstart
    output = command(
        *("python", "scripts/benchmark.py", "step", directory / "data-bin", "--subset", "valid"),
        *("--model", f"lrn={directory / 'checkpoints' / 'checkpoint_best.pt'}"),
        *("--batch-sizes", "8", "--rounds", "1", "--json", tmp_path / "figures.json"),
    )
    searches = re.findall(r"^\| lrn \| (.+?) \| 8 \| [\d.]+ \|", output, re.MULTILINE)
    assert searches == ["fairseq's", "ours", *reduced_precision("ours")]
    profiles = json.loads((tmp_path / "figures.json").read_text())["comparisons"]
    fairseq_search, own_search = profiles[:2]
    for shares in (fairseq_search["shares"], own_search["shares"]):
        assert all(share > 0 for share in shares.values()) and abs(sum(shares.values()) - 1) < 1e-6
    # Both searches decode the same positions.
    assert fairseq_search["steps"] == own_search["steps"] > 5
    assert fairseq_search["milliseconds"] > 0 and own_search["shares"]["products"] > 0.02


def test_scaling_resumes_after_an_interruption(command, tmp_path):
    figures = tmp_path / "figures.json"
    run = ["python", "scripts/benchmark.py", "scaling", "--resume", "--json", figures]
    run += ["--models", "lrn", "--kinds", "decode", "--lengths", "4"]
    first = command(*run).splitlines()
    assert first[-1].startswith("| decode | 4 | 4 | lrn | ")
    more = command(*run, "8").splitlines()
    assert more[-2] == first[-1] and more[-1].startswith("| decode | 8 | 4 | lrn | ")
    saved = json.loads(figures.read_text())
    assert [cost["length"] for cost in saved["comparisons"]] == [4, 8]
    # With fewer lengths, nothing is measured, and the file keeps all figures.
    assert command(*run).splitlines()[-1] == first[-1]
    assert json.loads(figures.read_text()) == saved
