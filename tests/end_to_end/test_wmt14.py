"""scripts/wmt14_en_de.sh from start to end, on little text and with a very short training run."""

import re

import pytest
from fairseq.data import Dictionary

SMALL = [
    "--embed-dim", "32", "--hidden-size", "32", "--encoder-layers", "2", "--decoder-layers", "2",
    "--max-epoch", "1",
]  # fmt: skip


@pytest.fixture
def raw(multi30k, tmp_path):
    """Text of Multi30k in files with the names of WMT14."""
    directory = tmp_path / "raw"
    directory.mkdir()
    for lang in ("en", "de"):
        lines = (multi30k / f"train.{lang}").read_text().splitlines(keepends=True)
        for number, name in enumerate(("train", "newstest2012", "newstest2013", "newstest2014")):
            (directory / f"{name}.{lang}").write_text("".join(lines[number * 3000 :][:3000]))
    return directory


def test_limited_run(command, raw, tmp_path):
    directory = tmp_path / "out"
    run = ["bash", "scripts/wmt14_en_de.sh", raw, "--dir", directory, "--tokenize"]
    output = command(*run, "--limit", "100", "--model", "olrn", "--", *SMALL)
    assert re.search(r"cleaning: \d+ of 100 pairs kept", output)
    assert "there is no mean of one checkpoint" in output
    bleu = (directory / "limit-100" / "olrn-1" / "bleu.txt").read_text()
    assert re.search(r"BLEU\|nrefs:1\|case:lc\|eff:no\|tok:none\|.* = [\d.]+", bleu)
    assert bleu.strip() in output
    assert re.search(r"^test bleu [\d.]+$", output, re.MULTILINE)
    # Both validation sets are limited, and each language has its own vocabulary.
    data = directory / "limit-100" / "data-bin"
    assert (directory / "limit-100" / "input" / "dev.en").read_text().count("\n") == 200
    english, german = (Dictionary.load(str(data / f"dict.{lang}.txt")) for lang in ("en", "de"))
    assert english != german
    pieces = list(zip(german.symbols, german.count))[german.nspecial :]
    counts = [n for piece, n in pieces if len(piece) > 1 and not piece.startswith("madeupword")]
    assert counts and min(counts) >= 50
    translations = (directory / "limit-100" / "olrn-1" / "translations.tok.de").read_text()
    assert translations.count("\n") == 100

    # A second run, with other paths to the same directories: only generation is left to do.
    (raw.parent / "other").symlink_to(raw)
    run[2] = raw.parent / "other" / ".." / "raw"
    run[4] = f"{directory}/../out/"
    output = command(*run, "--limit", "100", "--model", "olrn", "--", *SMALL)
    assert f"reusing {data}" in output and ": trained already" in output
    refusal = command(*run[:-1], "--limit", "100", ok=False)
    assert "  before: --tokenizer moses\n  now:    --no-tokenize\n" in refusal


def test_bad_options(command, raw, tmp_path):
    run = ["bash", "scripts/wmt14_en_de.sh", raw, "--dir", tmp_path / "out"]
    assert "--gpus must be 1, 2, 4 or 8" in command(*run, "--gpus", "3", ok=False)
    assert "--model must be one of lrn olrn" in command(*run, "--model", "abacus", ok=False)
    assert "--limit must be a number" in command(*run, "--limit", "few", ok=False)
    (raw / "newstest2013.de").unlink()
    assert "newstest2013.de is missing or empty" in command(*run, ok=False)
