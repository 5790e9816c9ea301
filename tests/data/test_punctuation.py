"""Words, numbers and punctuation marks, and their places."""

import random
import unicodedata

import pytest

from fairseq_lrn.data.punctuation import find_tokens

EXAMPLES = {
    "Ada's 1,000.5 km, don't!": ["Ada", "'s", "1,000.5", "km", ",", "do", "n't", "!"],
    "They’re (U.S. state)": ["They", "’re", "(", "U.S.", "state", ")"],
    "1990–1995, 10.5%": ["1990", "–", "1995", ",", "10.5", "%"],
    "A1_b-c d.": ["A1", "_", "b", "-", "c", "d", "."],
    "I\nCAN'T\t\u00a0go": ["I", "CA", "N'T", "go"],
    "$5.": ["$", "5", "."],
    "\u6211\u7231 Paris": ["\u6211", "\u7231", "Paris"],
    "cafe\u0301s": ["cafe\u0301s"],
    # Accents in Hindi and Thai, a joiner in Persian, and one that belongs to a symbol.
    "हिन्दी, ที่": ["हिन्दी", ",", "ที่"],
    "می\u200cخواهم": ["می\u200cخواهم"],
    "\u2764\ufe0f!": ["\u2764\ufe0f", "!"],
    "dogs' 'sand' O'Neil": ["dogs", "'", "'", "sand", "'", "O", "'", "Neil"],
    "Plan B. 2.5 e.g. 1.2.2008": ["Plan", "B", ".", "2.5", "e.g.", "1.2.2008"],
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples(text):
    assert [word for word, _, _ in find_tokens(text)] == EXAMPLES[text]


def test_tokens_of_all_characters():
    characters = "a".join(map(chr, (*range(0x20000), *range(0xE0000, 0xE1000))))
    found = find_tokens(characters)
    assert "".join(word for word, _, _ in found) == "".join(characters.split())


def test_every_character_is_in_one_token():
    dice = random.Random(1)
    characters = [chr(dice.randrange(0x20, 0x3000)) for _ in range(3000)] + list(" .,'\u2019nt19\n")
    characters = [one for one in characters if unicodedata.category(one) != "Cs"]
    for _ in range(300):
        text = "".join(dice.choices(characters, k=30))
        tokens = find_tokens(text)
        assert all(text[start:end] == word for word, start, end in tokens)
        assert all(left[2] <= right[1] for left, right in zip(tokens, tokens[1:]))
        assert "".join(word for word, _, _ in tokens) == "".join(text.split())


def test_no_tokens():
    assert find_tokens(" \n") == []
