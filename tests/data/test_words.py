"""Which word of a raw text each subword belongs to."""

import difflib
import random
from types import SimpleNamespace

import pytest

from fairseq_lrn.data import words
from fairseq_lrn.data.words import split_words, token_offsets

# Raw text, its subwords in sentencepiece's notation, the words and the index of each subword's.
CASES = {
    "hidden tokens": (
        "It's the man's dog, isn't it?",
        "▁It ▁'s ▁the ▁man ▁'s ▁do g ▁, ▁isn ▁'t ▁it ▁?",
        "It's the man's dog, isn't it?".split(),
        [0, 0, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5],
    ),
    "normalised": (
        "“Oh…”  MY İron\tfriend",
        '▁" ▁oh ▁... ▁" ▁my ▁i̇ ron ▁friend',
        ["“Oh…”", "MY", "İron", "friend"],
        [0, 0, 0, 0, 1, 2, 2, 3],
    ),
    "a space by itself": ("a bc", "▁ a ▁ b c", ["a", "bc"], [0, 0, 1, 1, 1]),
    "without spaces": (
        "我爱你 yes, 你",
        "▁我 爱 ▁ 你 ▁yes ▁, ▁ 你",
        ["我", "爱", "你", "yes,", "你"],
        [0, 1, 2, 2, 3, 3, 4, 4],
    ),
    "dropped word": ("a \x01 b", "▁a ▁b", ["a", "\x01", "b"], [0, 2]),
    "truncated": ("a b c", "▁a ▁b", ["a", "b", "c"], [0, 1]),
    "no subwords": ("\x01", "", ["\x01"], []),
    "no words": (" ", "▁", [], [0]),
    "all different": ("ab", "▁x ▁y ▁z", ["ab"], [0, 0, 0]),
}


@pytest.mark.parametrize("text, subwords, words, indices", CASES.values(), ids=CASES)
def test_words(text, subwords, words, indices):
    assert split_words(text, subwords.split()) == (words, indices)


def test_long_text_with_changed_characters():
    """Every word stays aligned, at a cost that is linear in the length."""
    dice = random.Random(1)
    tokens = ["".join(dice.choices("etaoinshr", k=dice.randint(1, 8))) for _ in range(5000)]
    changed = dice.sample(range(5000), 500)
    words = [f"{token}…" if index in changed else token for index, token in enumerate(tokens)]
    subwords, expected = [], []
    for index, token in enumerate(tokens):
        parts = [f"▁{token}", "▁..."] if index in changed else [f"▁{token}"]
        subwords += parts
        expected += [index] * len(parts)
    found, indices = split_words(" ".join(words), subwords)
    assert found == words
    assert sum(map(int.__eq__, indices, expected)) > 0.99 * len(expected)


@pytest.mark.parametrize(
    "text, tokens, places",
    [
        (" It's  here. ", "It 's here .", ["It", "'s", "here", "."]),
        ("“Oh”  No… MY İron", '" oh " no ... my i̇ ron', "“ Oh ” No … MY İ ron".split()),
        ("a \x01 b", "a b", ["a", "b"]),
        ("the dogs", "▁the ▁dog s", ["the", "dog", "s"]),
        ("ab", "▁ ab", ["", "ab"]),
        ("\x01", "", []),
        (" ", "x", [""]),
    ],
)
def test_offsets(text, tokens, places):
    offsets = token_offsets(text, tokens.split())
    assert [text[start:end] for start, end in offsets] == places
    assert offsets == sorted(offsets)


def test_only_differences_are_searched_for(monkeypatch):
    """Comparing all characters of a long text with each other takes minutes."""
    searched = []

    def search(junk, first, second, autojunk):
        searched.append(len(first) * len(second))
        return difflib.SequenceMatcher(junk, first, second, autojunk)

    monkeypatch.setattr(words, "difflib", SimpleNamespace(SequenceMatcher=search))
    text = "".join(f"the dogs of house number {number} sleep… " for number in range(200))
    offsets = token_offsets(text, text.replace("…", " ...").split())
    assert [text[start:end] for start, end in offsets[-2:]] == ["sleep", "…"]
    assert len(searched) <= 200 and max(searched) <= words.WINDOW**2


def test_offsets_of_repeated_words():
    assert token_offsets("a a, a", ["a", "a", ",", "a"]) == [(0, 1), (2, 3), (3, 4), (5, 6)]


@pytest.mark.parametrize(
    "text, tokens, words",
    [
        # The tokeniser has composed letters and accents.
        (
            "Zoe\u0308 lives. Chloe\u0301",
            "Zo\xeb lives . Chlo\xe9",
            "Zoe\u0308 lives . Chloe\u0301",
        ),
        ("\u0301e\u0301 e\u0301e", "\u0301\xe9 \xe9e", "\u0301e\u0301 e\u0301e"),
        # It has not.
        ("Zoe\u0308 lives", "Zoe\u0308 lives", "Zoe\u0308 lives"),
        ("Zoe\u0308 lives.", "Zoe \u0308 lives .", "Zoe \u0308 lives ."),
    ],
)
def test_offsets_of_accents(text, tokens, words):
    places = token_offsets(text, tokens.split())
    assert [text[start:end] for start, end in places] == words.split()
