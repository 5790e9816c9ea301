"""``--bpe prepared_text`` of fairseq's commands."""

import pytest
from fairseq.data.encoders import build_bpe
from omegaconf import OmegaConf

from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.data.prepared_text import PreparedText
from fairseq_lrn.errors import InputError


def build(directory=None, source_lang=None):
    """The BPE as fairseq's commands build it."""
    options = {"prepared_text": directory, "prepared_text_source_lang": source_lang}
    return build_bpe(OmegaConf.create({"_name": "prepared_text", **options}))


def test_registered_with_fairseq(prepared_data):
    bpe = build(str(prepared_data))
    assert isinstance(bpe, PreparedText)
    line = read_lines(str(prepared_data.parent / "train.en"))[0]
    subwords = read_lines(str(prepared_data / "text" / "train.bpe.en"))[0]
    assert bpe.encode(line) == subwords
    target = read_lines(str(prepared_data.parent / "train.de"))[0]
    assert bpe.decode(read_lines(str(prepared_data / "text" / "train.bpe.de"))[0]) == target


def test_words_that_fairseq_has_joined(prepared_data):
    """``--remove-bpe sentencepiece`` in addition."""
    target = read_lines(str(prepared_data.parent / "train.de"))[0]
    assert len(target.split()) > 1 and build(str(prepared_data)).decode(target) == target


def test_opposite_direction(prepared_data):
    line = read_lines(str(prepared_data.parent / "train.de"))[0]
    subwords = read_lines(str(prepared_data / "text" / "train.bpe.de"))[0]
    assert build(str(prepared_data), "de").encode(line) == subwords


def test_directory_is_required(tmp_path):
    with pytest.raises(InputError, match="needs --prepared-text DIR: give the directory"):
        build()
    with pytest.raises(InputError, match="lacks prepare.json"):
        build(str(tmp_path))
