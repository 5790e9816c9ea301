"""The words of raw text, the subwords that belong to each of them, and places of tokens."""

import difflib
import itertools
import re
import unicodedata
from typing import List, Sequence, Tuple

from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE

# Thai and Lao, Burmese, Khmer, kana, Chinese characters.
SCRIPTS_WITHOUT_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
WITHOUT_SPACES = re.compile(f"[{SCRIPTS_WITHOUT_SPACES}]")

WINDOW = 100  # characters that are compared at once; the time is quadratic in it


def split_words(text: str, subwords: Sequence[str]) -> Tuple[List[str], List[int]]:
    """The words of a text, and for each of its subwords the index of its word.

    Words are what a reader sees between spaces: ``isn't`` is one word, although Moses makes two
    tokens of it. In a word of a script without spaces, each subword counts as a word.

    Args:
        text: raw text.
        subwords: its subwords in sentencepiece's notation. Normalisation may have changed some of
            their characters. They may end before the text does.

    Returns:
        the words, and the indices, which never decrease. If *text* has no words, they are 0.
    """
    pieces = [subword.replace(SENTENCEPIECE_SPACE, "") for subword in subwords]
    spaced = text.split()
    members: List[List[str]] = [[] for _ in spaced]
    for piece, owner in zip(pieces, _owners(pieces, spaced)):
        members[owner].append(piece)
    words: List[str] = []
    indices: List[int] = []
    for word, parts in zip(spaced, members):
        if WITHOUT_SPACES.search(word) and any(parts):
            # A space by itself belongs to the subword after it.
            counts = list(itertools.accumulate(map(bool, parts), initial=len(words)))
            words += filter(None, parts)
            indices += [min(count, len(words) - 1) for count in counts[:-1]]
        else:
            indices += [len(words)] * len(parts)
            words.append(word)
    return words, indices or [0] * len(pieces)


def token_offsets(text: str, tokens: Sequence[str]) -> List[Tuple[int, int]]:
    """The place of each token in the text that it was made from.

    Args:
        text: raw text.
        tokens: its tokens, or subwords in sentencepiece's notation, in their order. Normalisation
            may have changed some of their characters.

    Returns:
        for each token the position of its first character, and the position after its last one.
    """
    composed = unicodedata.normalize("NFC", text)
    if composed != text and "".join(tokens) != "".join(text.split()):
        # The tokeniser has joined letters and accents; a token gets the places of all of them.
        clusters = _clusters(text)
        places = [(start, end) for start, end, joined in clusters for _ in joined]
        if "".join(joined for _, _, joined in clusters) == composed:
            found = _token_offsets(composed, tokens)
            return [
                (places[start][0], places[end - 1][1]) if end > start else (places[start][0],) * 2
                for start, end in found
            ]
    return _token_offsets(text, tokens)


def _clusters(text: str) -> List[Tuple[int, int, str]]:
    """Each letter with its accents: the place of its first character, that after its last, NFC."""
    starts = [place for place, letter in enumerate(text) if not unicodedata.combining(letter)]
    if text and starts[:1] != [0]:
        starts.insert(0, 0)
    return [
        (start, end, unicodedata.normalize("NFC", text[start:end]))
        for start, end in zip(starts, [*starts[1:], len(text)])
    ]


def _token_offsets(text: str, tokens: Sequence[str]) -> List[Tuple[int, int]]:
    """:func:`token_offsets` for a text whose letters are those of the tokens."""
    pieces = [token.replace(SENTENCEPIECE_SPACE, "") for token in tokens]
    places = [place for place, character in enumerate(text) if not character.isspace()]
    if not places:
        return [(0, 0)] * len(pieces)
    positions = _positions("".join(pieces), "".join(text.split()))
    ends = list(itertools.accumulate(map(len, pieces), initial=0))
    offsets = []
    for start, end in zip(ends, ends[1:]):
        first = places[positions[min(start, len(positions) - 1)]]
        offsets.append((first, places[positions[end - 1]] + 1 if end > start else first))
    return offsets


def _owners(pieces: Sequence[str], words: Sequence[str]) -> List[int]:
    """The index of the word that each piece starts in; an empty list if there are no words."""
    if not words or not pieces:
        return []
    owners = [index for index, word in enumerate(words) for _ in word]
    positions = _positions("".join(pieces), "".join(words))
    starts = itertools.accumulate(map(len, pieces[:-1]), initial=0)
    return [owners[positions[min(start, len(positions) - 1)]] for start in starts]


def _positions(changed: str, text: str) -> Sequence[int]:
    """For each character of *changed*, the position of the same or a similar place in *text*."""
    if text.startswith(changed):
        return range(max(len(changed), 1))
    # Character by character, because lower-casing may change the length of a string.
    first, second = ([character.lower() for character in string] for string in (changed, text))
    positions: List[int] = []
    place = 0
    while len(positions) < len(first):
        # Most characters are the same; only what follows a difference is searched for.
        same = _common_length(first, len(positions), second, place)
        positions += range(place, place + same)
        place += same
        if len(positions) == len(first):
            break
        window = first[len(positions) : len(positions) + WINDOW]
        other = second[place : place + WINDOW]
        matcher = difflib.SequenceMatcher(None, window, other, autojunk=False)
        blocks = matcher.get_matching_blocks()
        if len(positions) + WINDOW < len(first):
            # What follows the longest match may continue outside of the window.
            longest = max(blocks, key=lambda block: block.size)
            blocks = blocks[: blocks.index(longest) + 1]
        end = text_end = 0
        for block in blocks:
            gap = block.a - end
            positions += [
                place + text_end + index * (block.b - text_end) // gap for index in range(gap)
            ]
            positions += range(place + block.b, place + block.b + block.size)
            end, text_end = block.a + block.size, block.b + block.size
        place += text_end
    return [min(position, len(text) - 1) for position in positions]


def _common_length(first: Sequence[str], start: int, second: Sequence[str], place: int) -> int:
    """How many characters of *first* from *start* on are those of *second* from *place* on."""
    longest = min(len(first) - start, len(second) - place)
    length = 0
    while length < longest and first[start + length] == second[place + length]:
        length += 1
    return length
