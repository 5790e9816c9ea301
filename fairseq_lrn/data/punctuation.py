"""Words, numbers and punctuation marks of raw text, each at its exact place in it."""

import re
import unicodedata
from functools import cache
from typing import List, Pattern, Tuple

from fairseq_lrn.data.words import SCRIPTS_WITHOUT_SPACES

JOINERS = "\u200c\u200d"  # they change the shape of the letters around them


def find_tokens(text: str) -> List[Tuple[str, int, int]]:
    """The words, numbers and punctuation marks of a text.

    Every character except white space belongs to exactly one token. Tokens are

    * words, up to a hyphen, an apostrophe or another mark, with their accents,
    * numbers with digits on both sides of each comma and point: ``1,000.5``,
    * abbreviations whose letters have a point each: ``U.S.``,
    * ``n't`` and ``'s``, ``'re``, ``'ve``, ``'ll``, ``'d``, ``'m``, apart from the word before,
    * all other characters, each by itself: punctuation marks, symbols, and the letters of scripts
      without spaces, such as Chinese characters.

    Args:
        text: raw text; it may have line breaks.

    Returns:
        for each token itself, the position of its first character and the position after its last
        character.
    """
    return [(match.group(), *match.span()) for match in _tokens().finditer(text)]


@cache  # finding all accents takes as long as splitting a long text
def _tokens() -> Pattern[str]:
    # re has no class of accents, and \w does not match those that are characters of their own.
    # They are in the first two planes of Unicode, and at its end.
    candidates = map(chr, (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)))
    accents = "".join(c for c in candidates if unicodedata.category(c).startswith("M")) + JOINERS
    letter = rf"[^\W\d_{SCRIPTS_WITHOUT_SPACES}]"
    letter_or_digit = rf"[^\W_{SCRIPTS_WITHOUT_SPACES}]"
    alternatives = (
        r"\d+(?:[.,]\d+)+",
        rf"(?:{letter}\.){{2,}}",
        rf"{letter_or_digit}+?(?=(?i:n['’]t\b))",
        r"(?i:n['’]t|['’](?:s|re|ve|ll|d|m))\b",
        rf"{letter_or_digit}+(?:[{accents}]+{letter_or_digit}*)*",
        rf"\S[{accents}]*",
    )
    return re.compile("|".join(alternatives))
