"""Raw text to subwords and back, as fairseq-lrn prepare does it."""

import json

import pytest
from fairseq.data import Dictionary
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.data.raw_text import RawText, check_line, check_text
from fairseq_lrn.errors import InputError
from toy_checkpoints import prepare_data


def check(data, lowercase=False):
    """The subwords are those of the prepared data; the text is the raw text."""
    text = RawText(str(data))
    lines, target = (read_lines(str(data.parent / f"train.{lang}")) for lang in ("en", "de"))
    expected = read_lines(str(data / "text" / "valid.bpe.en"))
    assert [" ".join(text.subwords(line)) for line in lines] == expected
    segmented = read_lines(str(data / "text" / "valid.bpe.de"))
    assert [text.text(line) for line in segmented] == [
        line.lower() if lowercase else line for line in target
    ]
    assert [" ".join(text.target_subwords(line)) for line in target] == segmented
    # The model knows every subword of the source.
    dictionary = Dictionary.load(str(data / "dict.en.txt"))
    assert all(subword in dictionary for line in expected for subword in line.split())


def test_as_the_data_were_prepared(prepared_data, tmp_path):
    check(prepared_data)
    check(prepare_data(tmp_path / "1", vocab_threshold=20, lowercase=True), lowercase=True)
    check(prepare_data(tmp_path / "2", tokenizer="moses"))


def test_opposite_direction(prepared_data):
    text = RawText(str(prepared_data), source_lang="de")
    assert (text.source_lang, text.target_lang) == ("de", "en")
    lines = read_lines(str(prepared_data.parent / "train.de"))
    expected = read_lines(str(prepared_data / "text" / "valid.bpe.de"))
    assert [" ".join(text.subwords(line)) for line in lines] == expected
    with pytest.raises(InputError, match="has en and de, not fr"):
        RawText(str(prepared_data), source_lang="fr")


@pytest.mark.parametrize("tokenized", [True, False])
def test_records_of_older_versions(tmp_path, tokenized):
    """They have one setting for both languages, and no policies."""
    data = prepare_data(tmp_path, tokenizer="moses")
    record = json.loads((data / "prepare.json").read_text())
    del record["policies"], record["tokenizer"]
    (data / "prepare.json").write_text(json.dumps({**record, "tokenize": tokenized}))
    text = RawText(str(data))
    detokenized = text.text("\u2581das \u2581i st \u2581 . \u2581 \u2581\u2581 gut")
    assert detokenized == ("das ist. gut" if tokenized else "das ist . gut")
    assert ("\u2581." in text.subwords("A dog.")) is tokenized


@pytest.fixture(scope="module")
def without_moses(tmp_path_factory):
    """Text to subwords and back, with subwords of the text as it is."""
    data = str(prepare_data(tmp_path_factory.mktemp("raw"), tokenizer="none"))
    forward, backward = RawText(data, "en"), RawText(data, "de")
    return lambda line: backward.text(" ".join(forward.subwords(line)))


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\u2581"), max_size=40)
)
@settings(max_examples=300, deadline=None)
@example("It's 8' x 10', AT&T “1.000,50 €” https://a.b/c?d=e 10:30 geht's foto's комп'ютері")
@example("Сәлем! ฉันกำลังอ่าน. র‍্যাব ខ្ញុំអាន។ 昨日、本を買いました。")
def test_raw_text_is_lossless(without_moses, line):
    """Without Moses, everything comes back except the number of spaces."""
    assert without_moses(line) == " ".join(line.split())


@given(st.lists(st.text("ab\u2581", min_size=1, max_size=4), max_size=8))
@settings(max_examples=300, deadline=None)
def test_text_of_subwords(subwords):
    text = RawText.__new__(RawText)  # without files
    text.detokenize = str
    expected = " ".join("".join(subwords).replace("\u2581", " ").split())
    assert text.text(" ".join(subwords)) == expected


@pytest.mark.parametrize(
    "line, message",
    [
        (3, "the line must be a string, not int"),
        (b"a", "the line must be a string, not bytes: decode it first"),
        (" a\nb", "the line has several lines: give each line as a sentence of its own"),
        ("a \udcff", r"the line has the code point U\+DCFF, which is not a character \(position 2"),
    ],
)
def test_check_line(line, message):
    with pytest.raises(InputError, match=message):
        check_line(line, "the line")
    check_text("a\nb", "the text")  # several lines may be a text
    if not isinstance(line, str) or "\n" not in line:
        with pytest.raises(InputError, match=message.replace("line", "text")):
            check_text(line, "the text")


def test_lines_are_checked(prepared_data):
    text = RawText(str(prepared_data))
    for convert in (text.subwords, text.target_subwords):
        assert convert("\x85a\r\n") == convert("a")
        with pytest.raises(InputError, match="code point"):
            convert("\ud800")


def test_missing_or_damaged_files(data, tmp_path):
    with pytest.raises(InputError, match="lacks prepare.json: copy what is missing"):
        RawText(str(tmp_path))
    (data / "dict.de.txt").rename(data / "elsewhere")
    with pytest.raises(InputError, match="lacks dict.de.txt: copy what is missing"):
        RawText(str(data))
    (data / "elsewhere").rename(data / "dict.de.txt")
    (data / "sentencepiece.bpe.model").write_bytes(b"damaged")
    with pytest.raises(InputError, match="sentencepiece.bpe.model is damaged .* copy it again"):
        RawText(str(data))
