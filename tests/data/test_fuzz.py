"""Whatever the text, line n stays line n."""

import random

import pytest
from fairseq.data import Dictionary, data_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_lrn.data.parallel import read_lines, write_lines
from fairseq_lrn.data.prepare import PrepareOptions, prepare
from fairseq_lrn.data.tokenization import Tokenizer
from fairseq_lrn.errors import InputError
from toy_grammar import generate

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
    """Any number of odd things and of words, with spaces or without."""
    parts = [
        dice.choice(ODD) if dice.random() < 0.6 else dice.choice(["Haus", "the", "x"])
        for _ in range(dice.choice([0, 1, 3, 10, 40]))
    ]
    return dice.choice(["", " ", "  "]).join(parts)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
    st.sampled_from(["en", "de", "fr", "zh"]),
    st.booleans(),
)
def test_tokenising_keeps_a_line_one_line(line, lang, tokenize):
    tokens = Tokenizer(lang, tokenize, lowercase=True)(line)
    assert len(f"{tokens}\n".splitlines()) == 1 and tokens == " ".join(tokens.split())
    if not line.split():
        assert tokens == ""


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_as_many_lines_as_line_feeds(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "lines"
    content = "\n".join(lines) + "\n"
    path.write_bytes(content.encode())
    if content.strip("\ufeff").strip():
        assert len(read_lines(str(path))) == content.count("\n")


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1))
def test_bytes_that_are_no_text(tmp_path_factory, content):
    """A line's number, or all lines; nothing else."""
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    try:
        lines = read_lines(str(path))
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert len(lines) == content.removesuffix(b"\n").count(b"\n") + 1


@pytest.mark.parametrize("workers", [1, 2])
def test_whole_preparation(tmp_path, workers):
    """Each line has its number in it, on both sides, and that is where it is found."""
    dice = random.Random(workers)
    pairs = generate(300)
    numbers = [f"q {' '.join(f'{n:04d}')} q" for n in range(LINES)]
    for side, lang in enumerate(("en", "de")):
        write_lines(str(tmp_path / f"train.{lang}"), [p[side] for p in pairs] + 4 * numbers)
        odd = [f"{odd_line(dice)} {number} {odd_line(dice)}" for number in numbers]
        odd[7] = f"{'lang ' * 30_000}{numbers[7]}"
        odd[9] = ""  # a line without text on one side, on the other with
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
