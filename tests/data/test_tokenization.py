"""Moses tokenisation and detokenisation of single lines."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_lrn.data.tokenization import Detokenizer, Tokenizer


@pytest.mark.parametrize(
    "lang, options, line, tokens",
    [
        ("de", {}, "Das ist es, glaubt er.", "Das ist es , glaubt er ."),
        ("en", {"lowercase": True}, "It's A & B .", "it 's a & b ."),  # no escapes
        ("en", {"tokenize": False}, " two  words, here\u00a0. ", "two words, here ."),
        ("en", {}, "a\u2581b", "a _ b"),
        ("en", {}, " \t\r", ""),
    ],
)
def test_tokens(lang, options, line, tokens):
    tokenizer = Tokenizer(lang, **{"tokenize": True, "lowercase": False, **options})
    assert tokenizer(line) == tokens
    assert pickle.loads(pickle.dumps(tokenizer))(line) == tokens  # for worker processes


def test_detokenizer():
    assert Detokenizer("de")("Das ist es , glaubt er .") == "Das ist es, glaubt er."


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
    st.sampled_from(["en", "de", "fr", "zh"]),
    st.booleans(),
)
def test_a_line_stays_a_line(line, lang, tokenize):
    tokens = Tokenizer(lang, tokenize, lowercase=True)(line)
    assert len(f"{tokens}\n".splitlines()) == 1
    assert tokens == " ".join(tokens.split())
    if not line.split():
        assert tokens == ""
