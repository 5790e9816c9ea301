"""fairseq-lrn prepare-lm; the preparation itself is in data/test_prepare_monolingual.py."""

import json

from text_corpus import write_text


def test_options(run, tmp_path):
    write_text(tmp_path / "train.txt", 50, 1)
    run(
        *("prepare-lm", "--trainpref", tmp_path / "train.txt", "--destdir", tmp_path / "data"),
        *("--validpref", tmp_path / "train.txt", "--testpref", tmp_path / "train.txt"),
        *("--words", "--lowercase", "--workers", "1"),
    )
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert {"train.bin", "valid.bin", "test.bin", "dict.txt"} <= names
    record = json.loads((tmp_path / "data" / "prepare_lm.json").read_text())
    assert record["words"] and record["lowercase"] and record["vocab_size"] is None


def test_refused(refuse, tmp_path):
    message = refuse("prepare-lm", "--trainpref", tmp_path / "no.txt", "--destdir", tmp_path / "d")
    assert "cannot read" in message
