"""Moses tokenisation and detokenisation of single lines."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_lrn.data.tokenization import Detokenizer, Tokenizer


@pytest.mark.parametrize(
    "moses, lowercase, line, tokens",
    [
        ("de", False, "Das ist es, glaubt er.", "Das ist es , glaubt er ."),
        ("en", True, "It's A & B .", "it 's a & b ."),  # no escapes
        (None, False, " two  words, here\u00a0. ", "two words, here ."),
        (None, True, "It's 8' x 10', AT&T.", "it's 8' x 10', at&t."),
        ("en", False, "a\u2581b", "a _ b"),
        ("en", False, " \t\r", ""),
        ("de", False, "Zoe\u0308s Ko\u0308ln.", "Zo\u00ebs K\u00f6ln ."),  # accents stay on letters
    ],
)
def test_tokens(moses, lowercase, line, tokens):
    tokenizer = Tokenizer(moses, lowercase)
    assert tokenizer(line) == tokens
    assert pickle.loads(pickle.dumps(tokenizer))(line) == tokens  # for worker processes


def test_detokenizer():
    assert Detokenizer("de")("Das ist es , glaubt er .") == "Das ist es, glaubt er."
    assert Detokenizer(None)("Das ist es , glaubt er .") == "Das ist es , glaubt er ."


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
    st.sampled_from(["en", "de", "fr", "zh", None]),
)
def test_a_line_stays_a_line(line, moses):
    tokens = Tokenizer(moses, lowercase=True)(line)
    assert len(f"{tokens}\n".splitlines()) == 1
    assert tokens == " ".join(tokens.split())
    if not line.split():
        assert tokens == ""
