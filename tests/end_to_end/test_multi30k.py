"""scripts/multi30k.sh on the real text, with next to no training."""

import re


def test_whole_recipe(command, multi30k, tmp_path):
    raw, directory = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for lang in ("en", "de"):
        for split, size in (("train", 4000), ("val", 200), ("test_2016_flickr", 20)):
            lines = (multi30k / f"{split}.{lang}").read_text().splitlines(keepends=True)
            (raw / f"{split}.{lang}").write_text("".join(lines[:size]))

    run = ["bash", "scripts/multi30k.sh", raw, "--dir", directory]
    output = command(*run, "--", "--max-epoch", "1")
    assert re.search(r"cleaning: \d+ of 4000 pairs kept", output)
    assert "average the last 1 epochs" in output
    assert re.search(r"BLEU\|nrefs:1\|case:lc\|.* = [\d.]+", output)
    assert (directory / "validation.md").read_text().splitlines()[-1].startswith("| 1 | ")
    # Again: the data are reused, and training has nothing left to do.
    output = command(*run, "--", "--max-epoch", "1")
    assert f"reusing {directory / 'data-bin'}" in output
    assert "Loaded checkpoint" in output

    other = tmp_path / "other"
    other.mkdir()
    for path in raw.iterdir():
        (other / path.name).write_text(path.read_text())
    output = command("bash", "scripts/multi30k.sh", other, "--dir", directory, ok=False)
    assert "was not prepared from" in output
