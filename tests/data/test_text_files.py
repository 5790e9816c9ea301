"""The files that raw text needs, beside prepared data and beside checkpoints."""

import json
from argparse import Namespace

import pytest
from fairseq import checkpoint_utils

from fairseq_lrn.data import text_files
from fairseq_lrn.data.raw_text import RawText
from fairseq_lrn.data.text_files import LABELLED, MONOLINGUAL, PARALLEL
from fairseq_lrn.errors import InputError

NAMES = {"prepare.json", "sentencepiece.bpe.model", "dict.en.txt", "dict.de.txt"}


def names(directory):
    return {path.name for path in directory.iterdir()}


def test_names(prepared_data, tmp_path):
    assert set(PARALLEL.files(str(prepared_data))) == NAMES
    assert PARALLEL.files(str(tmp_path)) == []  # not from fairseq-lrn prepare


def test_missing_files(data, tmp_path):
    PARALLEL.check_complete(str(data))
    (data / "dict.de.txt").unlink()
    message = "lacks dict.de.txt: copy what is missing from the directory that fairseq-lrn prepare "
    with pytest.raises(InputError, match=message):
        PARALLEL.check_complete(str(data))
    with pytest.raises(InputError, match="lacks prepare_lm.json.* prepare-lm made"):
        MONOLINGUAL.check_complete(str(tmp_path))


def test_kept_files_are_enough(data, tmp_path):
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    text_files.keep(str(data), str(directory))
    assert names(directory) == NAMES
    assert RawText(str(directory)).subwords("The dog") == RawText(str(data)).subwords("The dog")


def test_only_changed_files_are_copied_again(data, tmp_path):
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    text_files.keep(str(data), str(directory))
    (directory / "dict.en.txt").write_text("of other data 1\n")
    before = (directory / "prepare.json").stat().st_mtime_ns
    text_files.keep(str(data), str(directory))
    assert (directory / "dict.en.txt").read_bytes() == (data / "dict.en.txt").read_bytes()
    assert (directory / "prepare.json").stat().st_mtime_ns == before


def test_data_from_elsewhere_have_no_such_files(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    text_files.keep(str(tmp_path), str(tmp_path / "checkpoints"))
    assert names(tmp_path / "checkpoints") == set()


@pytest.mark.parametrize("as_options", [dict, lambda options: Namespace(**options)])
def test_fairseq_saves_them_beside_a_checkpoint(prepared_data, tmp_path, as_options):
    task = as_options({"data": f"{prepared_data}:elsewhere"})
    state = {"model": {}, "cfg": {"task": task}}
    checkpoint_utils.torch_persistent_save(state, str(tmp_path / "checkpoint1.pt"))
    assert names(tmp_path) == {"checkpoint1.pt", *NAMES}


def test_checkpoint_without_data(tmp_path):
    for state in ({}, {"cfg": None}, {"cfg": {"task": {"data": None}}}):
        text_files.keep_beside_checkpoint(state, str(tmp_path))
    assert names(tmp_path) == set()


OPTIONS = {
    **{"kind": "text", "tokenizer": "space", "language": None, "lowercase": False},
    **{"characters": False, "version": 1},
}


@pytest.mark.parametrize(
    "change, further",
    [
        ({}, {"label/dict.txt"}),
        ({"characters": True}, {"label/dict.txt", "characters/dict.txt"}),
        ({"tokenizer": "sentencepiece"}, {"label/dict.txt", "sentencepiece.bpe.model"}),
        # The labels of answers are places, which have no dictionary.
        ({"kind": "spans", "characters": True}, {"characters/dict.txt"}),
    ],
)
def test_labelled_text_is_kept_with_its_directories(tmp_path, change, further):
    data, checkpoints = tmp_path / "data", tmp_path / "checkpoints"
    expected = {"prepare_labelled.json", "input0/dict.txt", *further}
    for name in (*expected, "input0/train.bin", "label/train.bin", "vectors.txt"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(f"the content of {name}")
    (data / "prepare_labelled.json").write_text(json.dumps({**OPTIONS, **change}))
    assert set(LABELLED.files(str(data))) == expected
    checkpoints.mkdir()
    text_files.keep(str(data), str(checkpoints))
    kept = [path for path in checkpoints.rglob("*") if path.is_file()]
    assert {str(path.relative_to(checkpoints)) for path in kept} == expected
    for path in kept:
        assert path.read_bytes() == (data / path.relative_to(checkpoints)).read_bytes()
    assert LABELLED.files(str(tmp_path)) == []


def test_labelled_text_that_cannot_be_kept(tmp_path):
    (tmp_path / "input0").mkdir()
    (tmp_path / "input0" / "dict.txt").write_text("a 1\n")
    (tmp_path / "prepare_labelled.json").write_text(json.dumps(OPTIONS))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "input0").write_text("a file")
    with pytest.raises(InputError, match="cannot write .*input0"):
        text_files.keep(str(tmp_path), str(tmp_path / "checkpoints"))


def test_damaged_record_of_labelled_text(tmp_path):
    path = tmp_path / "prepare_labelled.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="was not written by fairseq-lrn prepare-labelled"):
        LABELLED.read(str(tmp_path))
    path.write_text(json.dumps({**OPTIONS, "version": 2}))
    with pytest.raises(InputError, match="has the format 2, but .* reads 1: prepare the data"):
        LABELLED.files(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[1]", json.dumps({"source_lang": "en"})])
def test_damaged_record(data, content):
    (data / "prepare.json").write_text(content)
    for read in (PARALLEL.read, PARALLEL.files, PARALLEL.check_complete):
        with pytest.raises(InputError, match="prepare.json.* fairseq-lrn prepare"):
            read(str(data))


def test_moses_rules():
    languages = {"source_lang": "en-GB", "target_lang": "ja"}
    rules = text_files.moses_rules
    policies = {"en-GB": {"moses": "en"}, "ja": {"moses": None}}
    assert rules({**languages, "policies": policies}) == {"en-GB": "en", "ja": None}
    # Records of older versions have one setting for both languages.
    assert rules({**languages, "tokenize": True}) == {"en-GB": "en-GB", "ja": "ja"}
    assert rules({**languages, "tokenize": False}) == {"en-GB": None, "ja": None}
