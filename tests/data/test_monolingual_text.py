"""Raw text and the tokens of a language model; subwords are in test_prepare_monolingual.py."""

import json

import pytest

from fairseq_lrn.data.monolingual_text import MonolingualText
from fairseq_lrn.errors import InputError


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "prepare_lm.json").write_text(json.dumps({"words": True, "lowercase": True}))
    return tmp_path


def test_words(directory):
    text = MonolingualText(str(directory))
    assert text.tokens("  The   Cat ") == ["the", "cat"] and text.tokens("") == []
    assert text.text(["the", "cat"]) == "the cat"
    assert text.text(["cat"], before="the") == " cat" and text.text(["cat"], before="a\t") == "cat"
    assert text.piece("the", True) + text.piece("cat", False) == "the cat"


def test_bad_text(directory):
    text = MonolingualText(str(directory))
    with pytest.raises(InputError, match="line 3 must be a string, not int"):
        text.tokens(5, "line 3")
    with pytest.raises(InputError, match="the text has several lines"):
        text.tokens("a\nb")


def test_bad_directory(directory):
    with pytest.raises(InputError, match="cannot read .*prepare_lm.json"):
        MonolingualText(str(directory / "nothing"))
    (directory / "prepare_lm.json").write_text("{}")
    with pytest.raises(InputError, match="was not written by fairseq-lrn prepare-lm"):
        MonolingualText(str(directory))
    (directory / "prepare_lm.json").write_text(json.dumps({"words": False, "lowercase": False}))
    with pytest.raises(InputError, match="sentencepiece.bpe.model is (damaged|missing)"):
        MonolingualText(str(directory))
