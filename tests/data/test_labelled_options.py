"""Options of prepared labelled text: defaults, what is refused, and the record."""

import pytest

from fairseq_lrn.data.labelled_options import (
    LabelledOptions,
    check_options,
    moses_language,
    write_record,
)
from fairseq_lrn.data.text_files import LABELLED
from fairseq_lrn.errors import InputError


@pytest.fixture
def make(tmp_path):
    """A function that makes options for a directory that does not exist."""

    def make(kind="text", **options):
        return LabelledOptions(
            kind=kind, trainpref="train.txt", destdir=str(tmp_path / "data"), **options
        )

    return make


@pytest.mark.parametrize(
    "kind, tokenizer",
    [("text", "space"), ("pair", "space"), ("tags", "space"), ("spans", "punctuation")],
)
def test_tokenizers(make, kind, tokenizer):
    assert make(kind).tokenizer == tokenizer
    check_options(make(kind))
    check_options(make(kind, tokenizer=tokenizer))


@pytest.mark.parametrize("kind", ["text", "pair"])
@pytest.mark.parametrize("tokenizer", ["moses", "sentencepiece", "punctuation"])
def test_other_tokenizers_of_raw_text(make, kind, tokenizer):
    check_options(make(kind, tokenizer=tokenizer))
    assert make(kind, tokenizer=tokenizer).tokenizer == tokenizer


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "lines"}, "--kind must be one of text, pair, tags, spans, not lines"),
        (
            {"tokenizer": "none"},
            "--tokenizer must be one of space, moses, sentencepiece, punctuation, not none",
        ),
        ({"kind": "tags", "tag_scheme": "BIO"}, "--tag-scheme must be one of IOB2, IOB1, IOBES, n"),
        ({"tag_scheme": "IOB2"}, "--tag-scheme is for --kind tags: leave it out"),
        ({"kind": "tags", "tokenizer": "moses"}, "has its words given, .*leave out --tokenizer"),
        ({"kind": "spans", "tokenizer": "space"}, "places in the text are exact: leave out --tok"),
        ({"kind": "spans", "tokenizer": "sentencepiece"}, "leave out --tokenizer sentencepiece"),
        ({"vocab_size": 9}, "--vocab-size is for subwords: leave it out, or add"),
        ({"tokenizer": "sentencepiece", "vocab_size": 0}, "--vocab-size must be at least 1"),
        ({"tokenizer": "sentencepiece", "vectors": "v"}, "vectors of words, not of subwords"),
        ({"all_vectors": True}, "--all-vectors needs --vectors FILE"),
        ({"threshold": 0}, "--threshold must be at least 1, not 0"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"language": "de"}, "--language chooses the rules of Moses: leave it out"),
        ({"kind": "spans", "language": "de"}, "--language chooses the rules of Moses: leave it"),
        ({"language": "zh", "tokenizer": "moses"}, "no rules for --language zh: choose"),
    ],
)
def test_bad_options(make, options, message):
    with pytest.raises(InputError, match=message):
        check_options(make(**options))


def test_existing_directory_is_refused(make, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="data exists already"):
        check_options(make())


def test_languages(make):
    assert moses_language(make(tokenizer="moses")) == "en"
    assert moses_language(make(tokenizer="moses", language="de")) == "de"
    assert moses_language(make("tags")) == "en"  # for raw text
    assert moses_language(make("tags", language="zh")) is None  # there are no rules
    assert moses_language(make()) is None and moses_language(make("spans")) is None


def test_record(make, tmp_path):
    write_record(str(tmp_path), make("spans", lowercase=True, workers=3))
    record = LABELLED.read(str(tmp_path))
    assert record["kind"] == "spans" and record["tokenizer"] == "punctuation"
    assert record["lowercase"] is True and record["characters"] is True
    assert record["language"] is None and record["version"] == 1
    assert record["trainpref"] == "train.txt" and record["workers"] == 3
