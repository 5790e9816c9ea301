"""From raw text to data that fairseq reads: line n stays line n, whatever the text."""

import dataclasses
import itertools
import json
import random
import re
from collections import Counter

import pytest
from fairseq.data import Dictionary, data_utils
from sentencepiece import SentencePieceProcessor

from fairseq_lrn.data.parallel import read_lines, write_lines
from fairseq_lrn.data.prepare import (
    PrepareOptions,
    prepare,
    with_earlier_options,
)
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
    }
    if not {"vocab_from", "bpe_merges"} & changes.keys():
        defaults["vocab_size"] = 300
    return PrepareOptions(**{**defaults, **changes})


def test_prepare(raw):
    prepare(options(raw, lowercase=True, tokenizer="moses"))
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


def test_bpe_and_dictionaries_of_earlier_data(raw):
    prepare(options(raw))
    prepare(
        options(
            raw, "more", trainpref=None, validpref=None, vocab_from=str(raw / "data"), workers=2
        )
    )
    for name in ("dict.en.txt", "dict.de.txt", "test.en-de.en.bin", "test.en-de.de.bin"):
        assert (raw / "more" / name).read_bytes() == (raw / "data" / name).read_bytes()


def test_directories_that_look_like_options(raw, monkeypatch):
    """As with ``--destdir=-x``."""
    monkeypatch.chdir(raw)
    prepare(options(raw, destdir="-x"))
    prepare(options(raw, trainpref=None, destdir="-y", vocab_from="-x"))
    assert (raw / "-y" / "test.en-de.en.bin").exists()
    assert not list(raw.glob("*.incomplete"))


def test_merges(raw):
    """The number of merges, not of subwords: characters are not counted."""
    prepare(options(raw, bpe_merges=200))
    bpe = SentencePieceProcessor(model_file=str(raw / "data" / "sentencepiece.bpe.model"))
    subwords = [bpe.id_to_piece(index) for index in range(3, bpe.get_piece_size())]
    assert sum(len(subword) > 1 for subword in subwords) == 200
    text = "".join(read_lines(str(raw / "data" / "text" / f"train.tok.{lang}"))[n]
                   for lang in ("en", "de") for n in range(300))  # fmt: skip
    characters = {subword for subword in subwords if len(subword) == 1}
    assert characters == set(text) - {" "} | {"\u2581"}
    # If the text has fewer merges, all of them are made.
    prepare(options(raw, "all", bpe_merges=100000))


def test_long_lines_are_in_the_bpe(raw):
    """sentencepiece leaves out lines of more than 4192 bytes."""
    for lang in ("en", "de"):
        with open(raw / f"train.{lang}", "a") as file:
            file.write(1000 * "xyzzy " + "\n")
    prepare(options(raw, tokenizer="none", max_length=1000))
    bpe = SentencePieceProcessor(model_file=str(raw / "data" / "sentencepiece.bpe.model"))
    assert bpe.encode("xyzzy", out_type=str) == ["\u2581xyzzy"]
    assert not list((raw / "data").glob("*input*"))


def test_dictionary_for_each_language(raw, monkeypatch):
    monkeypatch.setattr("fairseq_lrn.data.bpe.ENCODED_AT_ONCE", 7)
    prepare(options(raw, bpe_merges=400, vocab_threshold=20))
    data = raw / "data"
    joint = SentencePieceProcessor(model_file=str(data / "sentencepiece.bpe.model"))
    for lang in ("en", "de"):
        counts = Counter(
            subword
            for line in joint.encode(read_lines(str(data / f"text/train.tok.{lang}")), out_type=str)
            for subword in line
        )
        dictionary = Dictionary.load(str(data / f"dict.{lang}.txt"))
        subwords = set(dictionary.symbols[dictionary.nspecial :])
        assert any(count < 20 for count in counts.values())
        for subword in subwords:
            is_padding = subword.startswith("madeupword")
            assert len(subword) == 1 or counts[subword] >= 20 or is_padding, subword
        # Nothing is lost: rare subwords are split, not replaced.
        for line, segmented in zip(
            read_lines(str(data / f"text/train.tok.{lang}")),
            read_lines(str(data / f"text/train.bpe.{lang}")),
        ):
            assert set(segmented.split()) <= subwords
            assert segmented.replace(" ", "").replace("\u2581", " ").strip() == line
    assert (data / "dict.en.txt").read_text() != (data / "dict.de.txt").read_text()
    # Later data are segmented in the same way, and their record says so.
    prepare(options(raw, "more", trainpref=None, validpref=None, vocab_from=str(data)))
    for lang in ("en", "de"):
        name = f"text/test.bpe.{lang}"
        assert (raw / "more" / name).read_text() == (data / name).read_text()
    assert json.loads((raw / "more" / "prepare.json").read_text())["vocab_threshold"] == 20


@pytest.mark.parametrize(
    "record, tokenizer",
    [
        ({"vocab_threshold": 20, "lowercase": True}, "moses"),  # of older versions
        ({"vocab_threshold": 20, "lowercase": True, "tokenize": False}, "none"),
        ({"policies": {"en": {"moses": None}, "de": {"moses": "de"}}}, "moses"),
        ({"policies": {"en": {"moses": None}, "de": {"moses": None}}}, "none"),
    ],
)
def test_options_of_earlier_data(tmp_path, record, tokenizer):
    languages = {"source_lang": "en", "target_lang": "de"}
    (tmp_path / "prepare.json").write_text(json.dumps({**languages, **record}))
    given = PrepareOptions("en", "de", vocab_from=str(tmp_path))
    adopted = with_earlier_options(given, str(tmp_path))
    assert adopted == dataclasses.replace(
        given,
        tokenizer=tokenizer,
        lowercase=record.get("lowercase", False),
        vocab_threshold=record.get("vocab_threshold", 0),
    )
    assert given.vocab_threshold == 0


def test_earlier_data_that_do_not_match(raw):
    prepare(options(raw))
    with pytest.raises(InputError, match="with lowercase=False, .*=True: leave out --lowercase$"):
        prepare(options(raw, "more", vocab_from=str(raw / "data"), lowercase=True))
    with pytest.raises(
        InputError, match="with tokenizer=none, but .*moses: leave out --tokenizer$"
    ):
        prepare(options(raw, "more", vocab_from=str(raw / "data"), tokenizer="moses"))
    record = json.loads((raw / "data" / "prepare.json").read_text())
    for change, given, remedy in (
        ({"lowercase": True}, {}, "add --lowercase"),
        ({"tokenizer": "moses"}, {"tokenizer": "none"}, "leave out --tokenizer none, or --no-tok"),
    ):
        (raw / "data" / "prepare.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(InputError, match=remedy):
            prepare(options(raw, "more", vocab_from=str(raw / "data"), **given))
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
        ({"vocab_size": 100000}, "100000 subwords .* choose another --vocab-size"),
        ({"trainpref": None}, "give --trainpref"),
        ({"trainpref": "absent"}, "cannot read absent.en"),
        ({"vocab_from": "absent"}, "absent/sentencepiece.bpe.model is missing"),
        ({"max_length": 1}, "raise --max-length"),
        ({"bpe_merges": 0}, "--bpe-merges must be at least 1"),
        ({"vocab_size": 0}, "--vocab-size must be at least 1, not 0"),
        ({"trainpref": ""}, "--trainpref has an empty name"),
        ({"testpref": ["a", ""]}, "--testpref has an empty name"),
        (
            {"trainpref": None, "vocab_from": "data", "max_length": 50},
            "--max-length has no effect without --trainpref",
        ),
        ({"vocab_threshold": -1}, "--vocab-threshold must be at least 0"),
        ({"vocab_from": "data", "vocab_threshold": 5}, "leave out --vocab-size, --bpe-merges and"),
        ({"vocab_from": "data", "vocab_size": 50}, "leave out --vocab-size, --bpe-merges and"),
        ({"vocab_size": 300, "bpe_merges": 50}, "--vocab-size and --bpe-merges both set"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"destdir": "a,b"}, "has a comma"),
        ({"destdir": "m\udcff"}, "is not UTF-8, which sentencepiece needs: choose another"),
        ({"destdir": "at_10:30"}, "at_10:30 has a colon, which separates names in fairseq"),
        ({"target_lang": "en"}, "are both en, .* give the sides two suffixes"),
        ({"source_lang": "a/b"}, "--source-lang 'a/b' is not a language code"),
        ({"target_lang": ""}, "--target-lang '' is not a language code"),
        ({"tokenizer": "spacy"}, "--tokenizer must be moses or none, not spacy"),
        (
            {"trainpref": None, "validpref": None, "testpref": [], "vocab_from": "data"},
            "give --validpref or --testpref",
        ),
        ({"destdir": "/proc/nowhere/data"}, "cannot write"),
    ],
)
def test_failure_leaves_no_file(raw, changes, message):
    before = sorted(raw.iterdir())
    with pytest.raises(InputError, match=message):
        prepare(options(raw, **changes))
    assert sorted(raw.iterdir()) == before


def test_space_of_sentencepiece_and_byte_order_mark(raw):
    lines = read_lines(str(raw / "test.en"))
    text = "\ufeffa\u2581b .\n" + "\n".join(lines[1:]) + "\n"
    (raw / "test.en").write_text(text, encoding="utf-8")
    prepare(options(raw, tokenizer="moses"))
    assert read_lines(str(raw / "data" / "text" / "test.tok.en"))[0] == "a _ b ."


def test_raw_text(raw):
    """By default, the subwords are those of the text as it is. The record says so."""
    line = "It's 8' x 10', AT&T  “1.000,50 €”."
    with open(raw / "train.en", "a") as english, open(raw / "train.de", "a") as german:
        print(line, file=english)
        print(line, file=german)
    prepare(options(raw))
    segmented = read_lines(str(raw / "data" / "text" / "train.bpe.en"))[-1]
    assert segmented.replace(" ", "").replace("\u2581", " ").split() == line.split()
    record = json.loads((raw / "data" / "prepare.json").read_text())
    assert record["tokenizer"] == "none"
    assert [record["policies"][lang]["moses"] for lang in ("en", "de")] == [None, None]
    # Later data are the same without being told.
    prepare(options(raw, "more", trainpref=None, vocab_from=str(raw / "data")))
    name = "text/test.bpe.de"
    assert (raw / "more" / name).read_text() == (raw / "data" / name).read_text()


def test_policy_of_each_side(raw, caplog):
    """Moses for English, raw text and lengths in characters for Japanese."""
    english = read_lines(str(raw / "train.en"))
    words = ["今朝", "先生は", "駅で", "本を", "買いました"]
    sentences = [itertools.islice(itertools.cycle(words), len(line.split())) for line in english]
    japanese = ["".join(sentence) + "。" for sentence in sentences]
    write_lines(str(raw / "train.ja-JP"), japanese)
    with caplog.at_level("INFO"):
        prepare(options(raw, target_lang="ja-JP", validpref=None, testpref=[], tokenizer="moses"))
    record = json.loads((raw / "data" / "prepare.json").read_text())
    assert record["policies"]["en"] == {"moses": "en", "characters_per_word": None, "bleu": "13a"}
    assert record["policies"]["ja-JP"]["moses"] is None
    assert read_lines(str(raw / "data" / "text" / "train.tok.ja-JP")) == japanese
    assert "cleaning: 300 of 300 pairs kept" in caplog.text
    assert "ja-JP: raw text, no tokenisation; length in characters" in caplog.text
    assert "round trip: 100.0% of 300 ja-JP sentences" in caplog.text


def test_pairs_in_two_splits(raw, caplog):
    """Also if the training text is that of earlier data."""
    for lang in ("en", "de"):
        lines = read_lines(str(raw / f"train.{lang}"))[:3]
        write_lines(str(raw / f"test.{lang}"), [*lines, lines[0], "A line of its own ."])
    prepare(options(raw, validpref=None))
    message = "warning: 4 of the 5 pairs of test are in the training text"
    assert message in caplog.text
    caplog.clear()
    prepare(options(raw, "more", trainpref=None, validpref=None, vocab_from=str(raw / "data")))
    assert message in caplog.text


ODD = [
    *("\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0", "\x7f"),
    *("\t", "\xa0", "\u200b", "\u200d", "\u202e", "\ufeff", "\ufffd", "\uffff", "\ue000", "\xad"),
    *("\u0301", "e\u0301\u0301\u0301", "\u1e9e", "\u0130", "\ufb01", "\U0001f469\u200d\U0001f680"),
    *("\u2581", "\u2581\u2581", "@@ ", "<unk>", "</s>", "<pad>", "<s>", "&amp;", "&#124;", "|"),
    *("'", "''", '"', "``", "...", "\u2026", "-", "--", "\u00b7", "\u4e2d\u6587", "\u0627\u0644"),
    *("\u0e44\u0e17\u0e22", "1,000.5", "http://a.b/c?d=e", "#", "%", "\\", "$1", "a" * 300),
]
LINES = 200


def odd_line(dice):
    """A line of odd characters and words, with or without spaces."""
    parts = [
        dice.choice(ODD) if dice.random() < 0.6 else dice.choice(["Haus", "the", "x"])
        for _ in range(dice.choice([0, 1, 3, 10, 40]))
    ]
    return dice.choice(["", " ", "  "]).join(parts)


@pytest.mark.parametrize("workers", [1, 2])
def test_line_numbers(tmp_path, workers):
    """Both sides of each line have its number in them, and the prepared line has it as well."""
    dice = random.Random(workers)
    pairs = generate(300)
    numbers = [f"q {' '.join(f'{n:04d}')} q" for n in range(LINES)]
    for side, lang in enumerate(("en", "de")):
        write_lines(str(tmp_path / f"train.{lang}"), [p[side] for p in pairs] + 4 * numbers)
        odd = [f"{odd_line(dice)} {number} {odd_line(dice)}" for number in numbers]
        odd[7] = f"{'lang ' * 30_000}{numbers[7]}"
        odd[9] = ""  # without text on one side only
        if side == 1:
            odd[9] = numbers[9]
        (tmp_path / f"test.{lang}").write_bytes(("\n".join(odd) + "\n").encode())
    prepare(
        PrepareOptions(
            *("en", "de"),
            trainpref=str(tmp_path / "train"),
            testpref=[str(tmp_path / "test")],
            destdir=str(tmp_path / "data"),
            vocab_size=300,
            workers=workers,
        )
    )
    for lang in ("en", "de"):
        dictionary = Dictionary.load(str(tmp_path / "data" / f"dict.{lang}.txt"))
        path = tmp_path / "data" / f"test.en-de.{lang}"
        items = data_utils.load_indexed_dataset(str(path), dictionary)
        assert len(items) == LINES
        for number, item in zip(numbers, items):
            text = dictionary.string(item, bpe_symbol="sentencepiece")
            if (lang, number) == ("en", numbers[9]):
                assert text == ""
            else:
                assert number in text, text


def test_unknown_tokens_are_named(raw, caplog):
    """Text whose characters the earlier data lack."""
    prepare(options(raw))
    assert "are not in the dictionary" not in caplog.text
    lines = read_lines(str(raw / "test.en"))
    write_lines(str(raw / "other.en"), ["\u0430\u0431\u0432 " + line for line in lines])
    write_lines(str(raw / "other.de"), read_lines(str(raw / "test.de")))
    caplog.clear()
    with caplog.at_level("INFO"):
        prepare(
            options(raw, "more", vocab_from=str(raw / "data"), trainpref=None, validpref=None,
                    testpref=[str(raw / "other")])
        )  # fmt: skip
    (warning,) = (r.message for r in caplog.records if "not in the dictionary" in r.message)
    assert re.match(r"test.bpe.en: [\d.]+% of the tokens are not in the dictionary", warning)
    assert "round trip: 0.0% of 20 en sentences" in caplog.text
    assert "round trip: 100.0% of 20 de sentences" in caplog.text


def test_destination_that_cannot_be_made(raw):
    with pytest.raises(InputError, match="--destdir has an empty name: give a directory"):
        prepare(options(raw, destdir=""))
    (raw / "link").symlink_to(raw / "absent")
    with pytest.raises(InputError, match="link exists already"):
        prepare(options(raw, destdir=str(raw / "link")))
