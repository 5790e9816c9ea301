"""fairseq-lrn prepare-labelled; the preparation itself is in data/test_prepare_labelled.py."""

import json

import pytest

from labelled_corpus import write_spans


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.tsv").write_text("good\tA cat.\nbad\tno cat\n")
    (tmp_path / "vectors.txt").write_text("cat 1 2\nfar 3 4\n")
    return [
        *("prepare-labelled", "--kind", "text", "--destdir", tmp_path / "data"),
        *("--trainpref", tmp_path / "train.tsv", "--workers", "1"),
    ]


def test_options(run, files, tmp_path):
    run(
        *(*files, "--validpref", tmp_path / "train.tsv", "--testpref", tmp_path / "train.tsv"),
        *("--tokenizer", "moses", "--language", "en-GB", "--lowercase", "--threshold", "2"),
        *("--vectors", tmp_path / "vectors.txt", "--all-vectors", "--no-characters"),
    )
    data = tmp_path / "data"
    names = {str(path.relative_to(data)) for path in data.rglob("*.*")}
    splits = {
        f"{split}.{suffix}" for split in ("train", "valid", "test") for suffix in ("bin", "idx")
    }
    assert names == {
        *("prepare_labelled.json", "vectors.txt"),
        *(f"{part}/{name}" for part in ("input0", "label") for name in (*splits, "dict.txt")),
    }
    assert (data / "input0" / "dict.txt").read_text() == "cat 2\nfar 0\n"
    record = json.loads((data / "prepare_labelled.json").read_text())
    assert record["tokenizer"] == "moses" and record["language"] == "en"
    assert record["lowercase"] is True and record["characters"] is False
    assert record["version"] == 1


def test_subwords(run, files, tmp_path):
    run(*files, "--tokenizer", "sentencepiece", "--vocab-size", "13")
    assert (tmp_path / "data" / "sentencepiece.bpe.model").is_file()


def test_questions(run, refuse, tmp_path):
    write_spans(str(tmp_path))
    arguments = [
        *("prepare-labelled", "--kind", "spans", "--destdir", tmp_path / "data"),
        *("--trainpref", tmp_path / "train.json", "--validpref", tmp_path / "valid.json"),
        *("--workers", "1", "--lowercase", "--testpref", tmp_path / "valid.json"),
    ]
    message = refuse(*arguments, "--tokenizer", "moses")
    assert "--kind spans needs words whose places in the text are exact: leave out" in message
    run(*arguments)
    data = tmp_path / "data"
    parts = {f"{name}{side}" for name in ("input", "characters") for side in (0, 1)}
    assert {path.name for path in data.iterdir()} == {
        *(*parts, "characters", "label", "offsets1", "squad", "prepare_labelled.json")
    }
    assert {path.stem for path in (data / "squad").iterdir()} == {"train", "valid", "test"}
    assert json.loads((data / "prepare_labelled.json").read_text())["tokenizer"] == "punctuation"


def test_refused(refuse, files, tmp_path):
    (tmp_path / "train.tsv").write_text("good\tA cat.\nbad no cat\n")
    message = refuse(*files)
    assert f"error: {tmp_path}/train.tsv, line 2: 1 field between tabs" in message
    assert not (tmp_path / "data").exists()
