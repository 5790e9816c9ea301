"""From raw text to data that fairseq reads."""

import json
from collections import Counter

import pytest
from fairseq.data import Dictionary, data_utils
from sentencepiece import SentencePieceProcessor

from fairseq_lrn.data.parallel import read_lines, write_lines
from fairseq_lrn.data.prepare import PrepareOptions, clean, prepare
from fairseq_lrn.errors import InputError
from toy_grammar import generate


@pytest.fixture
def raw(tmp_path):
    pairs = generate(340)
    for split, part in (("train", pairs[:300]), ("valid", pairs[300:320]), ("test", pairs[320:])):
        for side, lang in enumerate(("en", "de")):
            write_lines(str(tmp_path / f"{split}.{lang}"), [pair[side] for pair in part])
    return tmp_path


def options(raw, name="data", **changes):
    defaults = {
        "source_lang": "en",
        "target_lang": "de",
        "trainpref": str(raw / "train"),
        "validpref": str(raw / "valid"),
        "testpref": [str(raw / "test")],
        "destdir": str(raw / name),
        "vocab_size": 300,
    }
    return PrepareOptions(**{**defaults, **changes})


def test_prepare(raw):
    prepare(options(raw, lowercase=True))
    data = raw / "data"
    assert (data / "dict.en.txt").read_text() == (data / "dict.de.txt").read_text()
    dictionary = Dictionary.load(str(data / "dict.de.txt"))
    test = data_utils.load_indexed_dataset(str(data / "test.en-de.de"), dictionary)
    raw_lines = read_lines(str(raw / "test.de"))
    for tokens, line in zip(test, raw_lines):
        text = dictionary.string(tokens, bpe_symbol="sentencepiece")
        assert text.replace(" ", "") == line.lower().replace(" ", "")
    assert json.loads((data / "prepare.json").read_text())["lowercase"] is True
    assert read_lines(str(data / "text" / "test.tok.de"))[0].endswith(" .")


def test_vocabulary_of_earlier_data(raw):
    prepare(options(raw))
    prepare(
        options(
            raw, "more", trainpref=None, validpref=None, vocab_from=str(raw / "data"), workers=2
        )
    )
    for name in ("dict.en.txt", "dict.de.txt", "test.en-de.en.bin", "test.en-de.de.bin"):
        assert (raw / "more" / name).read_bytes() == (raw / "data" / name).read_bytes()


def test_merges(raw):
    """The number of merges, not of pieces: characters come on top."""
    prepare(options(raw, bpe_merges=200))
    bpe = SentencePieceProcessor(model_file=str(raw / "data" / "sentencepiece.bpe.model"))
    pieces = [bpe.id_to_piece(index) for index in range(3, bpe.get_piece_size())]
    assert sum(len(piece) > 1 for piece in pieces) == 200
    text = "".join(read_lines(str(raw / "data" / "text" / f"train.tok.{lang}"))[n]
                   for lang in ("en", "de") for n in range(300))  # fmt: skip
    assert {piece for piece in pieces if len(piece) == 1} == set(text) - {" "} | {"\u2581"}
    # As many as there are, where there are fewer.
    prepare(options(raw, "all", bpe_merges=100000))


def test_vocabulary_for_each_language(raw, monkeypatch):
    monkeypatch.setattr("fairseq_lrn.data.prepare.ENCODED_AT_ONCE", 7)
    prepare(options(raw, bpe_merges=400, vocab_threshold=20))
    data = raw / "data"
    whole = SentencePieceProcessor(model_file=str(data / "sentencepiece.bpe.model"))
    for lang in ("en", "de"):
        counts = Counter(
            piece
            for line in whole.encode(read_lines(str(data / f"text/train.tok.{lang}")), out_type=str)
            for piece in line
        )
        dictionary = Dictionary.load(str(data / f"dict.{lang}.txt"))
        pieces = set(dictionary.symbols[dictionary.nspecial :])
        assert any(count < 20 for count in counts.values())
        for piece in pieces:
            assert len(piece) == 1 or counts[piece] >= 20 or piece.startswith("madeupword"), piece
        # Nothing is lost: pieces are taken apart, not replaced.
        for line, segmented in zip(
            read_lines(str(data / f"text/train.tok.{lang}")),
            read_lines(str(data / f"text/train.bpe.{lang}")),
        ):
            assert set(segmented.split()) <= pieces
            assert segmented.replace(" ", "").replace("\u2581", " ").strip() == line
    assert (data / "dict.en.txt").read_text() != (data / "dict.de.txt").read_text()
    # Later data are segmented the same way.
    prepare(options(raw, "more", trainpref=None, validpref=None, vocab_from=str(data)))
    for lang in ("en", "de"):
        name = f"text/test.bpe.{lang}"
        assert (raw / "more" / name).read_text() == (data / name).read_text()


def test_vocabulary_made_differently(raw):
    prepare(options(raw))
    with pytest.raises(InputError, match="prepared with lowercase=False, but this is"):
        prepare(options(raw, "more", vocab_from=str(raw / "data"), lowercase=True))
    (raw / "data" / "sentencepiece.bpe.model").write_text("damaged")
    with pytest.raises(InputError, match="is damaged"):
        prepare(options(raw, "more", trainpref=None, vocab_from=str(raw / "data")))
    assert not (raw / "more").exists()


def test_nothing_is_overwritten(raw):
    (raw / "data").mkdir()
    (raw / "data" / "precious").touch()
    with pytest.raises(InputError, match="exists already"):
        prepare(options(raw))
    assert [path.name for path in (raw / "data").iterdir()] == ["precious"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"vocab_size": 100000}, "choose another --vocab-size"),
        ({"trainpref": None}, "give --trainpref"),
        ({"trainpref": "absent"}, "cannot read absent.en"),
        ({"vocab_from": "absent"}, "absent/sentencepiece.bpe.model is missing"),
        ({"max_length": 1}, "raise --max-length"),
        ({"bpe_merges": 0}, "--bpe-merges must be at least 1"),
        ({"vocab_threshold": -1}, "--vocab-threshold must be at least 0"),
        ({"vocab_from": "data", "vocab_threshold": 5}, "leave out --bpe-merges and"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"destdir": "a,b"}, "has a comma"),
        ({"destdir": "/proc/nowhere/data"}, "cannot make"),
    ],
)
def test_what_fails_leaves_nothing(raw, changes, message):
    before = sorted(raw.iterdir())
    with pytest.raises(InputError, match=message):
        prepare(options(raw, **changes))
    assert sorted(raw.iterdir()) == before


def test_characters_of_sentencepiece_and_byte_order_mark(raw):
    lines = read_lines(str(raw / "test.en"))
    text = "\ufeffa\u2581b .\n" + "\n".join(lines[1:]) + "\n"
    (raw / "test.en").write_text(text, encoding="utf-8")
    prepare(options(raw))
    assert read_lines(str(raw / "data" / "text" / "test.tok.en"))[0] == "a _ b ."


def test_cleaning():
    source = ["a b", "", "a", "a a a a", "a b c"]
    target = ["x", "x", "", "x", "x y z"]
    assert clean(source, target, 3, 2.0) == (["a b", "a b c"], ["x", "x y z"])
