"""Measuring what preparation changes in text: raw text to subwords, and back."""

import logging
import os
from typing import List

from fairseq.data import Dictionary

from fairseq_lrn.data.raw_text import RawText

logger = logging.getLogger(__name__)

SAMPLE = 2000  # lines
EXAMPLES = 3
CONTEXT = 12  # characters on each side of a change


def sample(lines: List[str]) -> List[str]:
    """At most :data:`SAMPLE` lines, at equal distances in the whole text."""
    size = min(SAMPLE, len(lines))
    return [lines[index * len(lines) // size] for index in range(size)]


def report_round_trip(directory: str, lang: str, lines: List[str]) -> None:
    """Log how many lines come back unchanged, with examples of those that do not.

    Args:
        directory: prepared data.
        lang: language of the lines.
        lines: raw text.
    """
    forward = RawText(directory, lang)
    backward = RawText(directory, forward.target_lang)
    dictionary = Dictionary.load(os.path.join(directory, f"dict.{lang}.txt"))
    changes = []
    for line in lines:
        # The spaces and, if that was asked for, the case are no loss.
        before = " ".join(line.lower().split() if forward.lowercase else line.split())
        subwords = forward.subwords(line)
        known = (word if word in dictionary else dictionary.unk_word for word in subwords)
        after = backward.text(" ".join(known))
        if before != after:
            changes.append(difference(before, after))
    logger.info(
        "round trip: %.1f%% of %d %s sentences come back from subwords as they were",
        100 * (1 - len(changes) / len(lines)), len(lines), lang,
    )  # fmt: skip
    for change in changes[:EXAMPLES]:
        logger.info("  %s", change)
    if changes and forward.moses is not None:
        logger.info("  Moses changes them; --tokenizer none keeps the text as it is")


def difference(before: str, after: str) -> str:
    """Show the part of a line that changed, with some text around it."""
    start = len(os.path.commonprefix([before, after]))
    tails = before[start:][::-1], after[start:][::-1]
    end = len(os.path.commonprefix(tails))
    first = max(0, start - CONTEXT)
    parts = [line[first : max(start, len(line) - end) + CONTEXT] for line in (before, after)]
    return " -> ".join(repr(part) for part in parts)
