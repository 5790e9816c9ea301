"""Preparing text of one language: words or subwords."""

import pytest
from fairseq.data import Dictionary, data_utils

from fairseq_lrn.data.monolingual_text import MonolingualText
from fairseq_lrn.data.prepare_monolingual import MonolingualOptions, prepare_monolingual
from fairseq_lrn.errors import InputError

TRAIN = "the cat sat on the mat\n\nthe Dog <unk> sat\n a cat \n" * 20
VALID = "the cat met a zebra\nthe mat\n"


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "train.txt").write_text(TRAIN)
    (tmp_path / "valid.txt").write_text(VALID)
    return tmp_path


def prepare(raw, name="data", **options):
    directory = raw / name
    prepare_monolingual(
        MonolingualOptions(
            str(raw / "train.txt"), str(directory), validpref=str(raw / "valid.txt"), **options
        )
    )
    return directory


def symbols(directory, split):
    dictionary = Dictionary.load(str(directory / "dict.txt"))
    lines = data_utils.load_indexed_dataset(str(directory / split), dictionary, None)
    return [[dictionary[token] for token in lines[index]] for index in range(len(lines))]


def test_words(raw):
    directory = prepare(raw, words=True)
    assert symbols(directory, "train")[:4] == [
        ["the", "cat", "sat", "on", "the", "mat", "</s>"],
        ["</s>"],
        ["the", "Dog", "<unk>", "sat", "</s>"],
        ["a", "cat", "</s>"],
    ]
    # A word of the validation text is in the dictionary as well.
    assert symbols(directory, "valid")[0] == ["the", "cat", "met", "a", "zebra", "</s>"]
    dictionary = Dictionary.load(str(directory / "dict.txt"))
    assert not any(symbol.startswith("madeup") for symbol in dictionary.symbols)
    assert sorted(path.name for path in directory.iterdir() if path.suffix != ".log") == [
        *("dict.txt", "prepare_lm.json", "train.bin", "train.idx", "valid.bin", "valid.idx"),
    ]


@pytest.mark.parametrize("words", [True, False])
def test_directory_that_looks_like_an_option(raw, monkeypatch, words):
    """As with ``--destdir=-x``."""
    monkeypatch.chdir(raw)
    size = None if words else 30
    prepare_monolingual(MonolingualOptions("train.txt", "-x", words=words, vocab_size=size))
    assert (raw / "-x" / "train.bin").exists()


@pytest.mark.parametrize("word", ["<s>", "</s>", "<pad>"])
def test_special_symbols_are_refused(raw, word):
    """As words they would be targets that the model never predicts, or ends of lines."""
    (raw / "valid.txt").write_text(f"the cat\n{word} the mat\n")
    message = rf"valid.txt, line 2 has the word {word}, which is a special symbol"
    with pytest.raises(InputError, match=message):
        prepare(raw, words=True)
    assert not (raw / "data").exists() and not (raw / "data.incomplete").exists()
    directory = prepare(raw, vocab_size=30)  # subwords of it are ordinary ones
    assert set(symbols(directory, "valid")[1][:-1]).isdisjoint({"<s>", "</s>", "<pad>"})


def test_long_lines_are_in_the_bpe(raw):
    """sentencepiece skips lines of more than 4192 bytes."""
    (raw / "train.txt").write_text("zebra quagga okapi " * 1000 + "\nthe cat sat on the mat\n")
    text = MonolingualText(str(prepare(raw, vocab_size=60)))
    assert text.tokens("zebra quagga okapi") == ["▁zebra", "▁quagga", "▁okapi"]


def test_subwords(raw):
    directory = prepare(raw, vocab_size=30, lowercase=True)
    text = MonolingualText(str(directory))
    found = [text.text(line[:-1]) for line in symbols(directory, "train")]
    pieces = [
        "".join(text.piece(token, index == 0) for index, token in enumerate(line[:-1]))
        for line in symbols(directory, "train")
    ]
    assert pieces == found
    expected = [" ".join(line.lower().split()) for line in TRAIN.splitlines()]
    assert [line for line in found if "unk" not in line] == [
        line for line in expected if "unk" not in line
    ]
    assert any(
        len(line) > 1 + len(words.split())
        for line, words in zip(symbols(directory, "train"), expected)
    )


def test_space_of_sentencepiece(raw, caplog):
    """As in ``prepare``: it would come back as a space."""
    (raw / "valid.txt").write_text("the\u2581cat\nthe mat\n")
    (raw / "train.txt").write_text(TRAIN + "the\u2581cat\n" * 20)
    directory = prepare(raw, vocab_size=30)
    assert "valid.txt: 1 lines have the character \u2581 (U+2581)" in caplog.text
    assert "train.txt: 20 lines have the character" in caplog.text
    text = MonolingualText(str(directory))
    assert text.text(symbols(directory, "valid")[0][:-1]) == "the_cat"
    assert text.text(text.tokens("the\u2581cat")) == "the_cat"
    caplog.clear()
    words = prepare(raw, "words", words=True)  # which are kept as they are
    assert symbols(words, "valid")[0] == ["the\u2581cat", "</s>"]
    assert "U+2581" not in caplog.text


@pytest.mark.parametrize(
    "options, message",
    [
        ({"words": True, "vocab_size": 9}, "--words keeps all words: leave out --vocab-size"),
        ({"vocab_size": 0}, "--vocab-size must be at least 1"),
        ({"vocab_size": 5000}, "sentencepiece cannot make 5000 subwords"),
        ({"workers": 0}, "--workers must be at least 1"),
    ],
)
def test_bad_options(raw, options, message):
    with pytest.raises(InputError, match=message):
        prepare(raw, **options)
    assert not list(raw.glob("data*"))


def test_files_that_cannot_be_used(raw):
    with pytest.raises(InputError, match="--destdir .* has a colon, which separates names"):
        prepare(raw, "a:b")
    (raw / "data").mkdir()
    with pytest.raises(InputError, match="data exists already"):
        prepare(raw)
    (raw / "valid.txt").write_text("")
    with pytest.raises(InputError, match="valid.txt is empty"):
        prepare(raw, "other")
    (raw / "valid.txt").write_bytes(b"ok\n\xff\n")
    with pytest.raises(InputError, match=r"valid.txt is not UTF-8 \(line 2\)"):
        prepare(raw, "other")
    (raw / "train.txt").unlink()
    with pytest.raises(InputError, match="cannot read .*train.txt"):
        prepare(raw, "other")
