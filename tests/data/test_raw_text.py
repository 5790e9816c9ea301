"""Raw text to pieces and back, with what prepare_text.py left."""

import json
import shutil
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_lrn.data import text_files
from fairseq_lrn.data.parallel import read_lines, write_lines
from fairseq_lrn.data.prepare import PrepareOptions, prepare
from fairseq_lrn.data.raw_text import RawText, group
from fairseq_lrn.errors import InputError
from toy_grammar import generate


def prepared(directory, **options):
    pairs = generate(300)
    for side, lang in enumerate(("en", "de")):
        write_lines(str(directory / f"train.{lang}"), [pair[side] for pair in pairs])
    prefix = str(directory / "train")
    given = {"trainpref": prefix, "validpref": prefix, "destdir": str(directory / "data")}
    prepare(PrepareOptions("en", "de", **{**given, "vocab_size": 300, **options}))
    return directory / "data"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("original"))


@pytest.fixture
def data(original, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def check(data, lowercase=False):
    text = RawText(str(data))
    lines, target = (read_lines(str(data.parent / f"train.{lang}")) for lang in ("en", "de"))
    expected = read_lines(str(data / "text" / "valid.bpe.en"))
    assert [" ".join(text.pieces(line)) for line in lines] == expected
    pieces = read_lines(str(data / "text" / "valid.bpe.de"))
    assert [text.text(line) for line in pieces] == [
        line.lower() if lowercase else line for line in target
    ]
    # No piece of the source is unknown to the model.
    dictionary = Dictionary.load(str(data / "dict.en.txt"))
    assert all(piece in dictionary for line in expected for piece in line.split())


def test_as_the_data_were_prepared(original, tmp_path):
    check(original)
    check(prepared(tmp_path, vocab_threshold=20, lowercase=True), lowercase=True)


def test_opposite_direction(original):
    text = RawText(str(original), source_lang="de")
    assert (text.source_lang, text.target_lang) == ("de", "en")
    lines = read_lines(str(original.parent / "train.de"))
    expected = read_lines(str(original / "text" / "valid.bpe.de"))
    assert [" ".join(text.pieces(line)) for line in lines] == expected
    with pytest.raises(InputError, match="has en and de, not fr"):
        RawText(str(original), source_lang="fr")


def test_text_that_was_tokenised_already(data):
    record = json.loads((data / "prepare.json").read_text())
    (data / "prepare.json").write_text(json.dumps({**record, "tokenize": False}))
    text = RawText(str(data))
    assert text.text("\u2581das \u2581i st \u2581 . \u2581 \u2581\u2581 gut") == "das ist . gut"


@given(st.lists(st.text("ab\u2581", min_size=1, max_size=4), max_size=8))
@settings(max_examples=300, deadline=None)
def test_groups_are_the_words(pieces):
    words, numbers = group(pieces)
    assert words == "".join(pieces).replace("\u2581", " ").split() or any(
        "\u2581" in piece[1:] for piece in pieces
    )
    assert len(numbers) == len(pieces)
    assert numbers == sorted(numbers)
    assert not words or numbers[0] == 0 and numbers[-1] == len(words) - 1


def test_kept_beside_checkpoints(data, tmp_path):
    kept = tmp_path / "checkpoints"
    kept.mkdir()
    text_files.keep(str(data), str(kept))
    names = {"prepare.json", "sentencepiece.bpe.model", "dict.en.txt", "dict.de.txt"}
    assert {path.name for path in kept.iterdir()} == names
    (kept / "dict.en.txt").write_text("of other data 1\n")
    before = (kept / "prepare.json").stat().st_mtime_ns
    text_files.keep(str(data), str(kept))
    assert (kept / "dict.en.txt").read_bytes() == (data / "dict.en.txt").read_bytes()
    assert (kept / "prepare.json").stat().st_mtime_ns == before
    assert RawText(str(kept)).pieces("The dog") == RawText(str(data)).pieces("The dog")
    # Data of other making have none of this, and are left alone.
    (tmp_path / "other").mkdir()
    text_files.keep(str(tmp_path), str(tmp_path / "other"))
    assert not list((tmp_path / "other").iterdir())


def test_what_is_missing_or_damaged(data, tmp_path):
    with pytest.raises(InputError, match="lacks prepare.json: give the directory"):
        RawText(str(tmp_path))
    (data / "dict.de.txt").rename(data / "elsewhere")
    with pytest.raises(InputError, match="lacks dict.de.txt: .*or copy the file"):
        RawText(str(data))
    (data / "elsewhere").rename(data / "dict.de.txt")
    (data / "sentencepiece.bpe.model").write_bytes(b"damaged")
    with pytest.raises(InputError, match="sentencepiece.bpe.model is damaged"):
        RawText(str(data))
    for content in ("{", "[1]", json.dumps({"source_lang": "en"})):
        (data / "prepare.json").write_text(content)
        with pytest.raises(InputError, match="prepare.json"):
            RawText(str(data))
