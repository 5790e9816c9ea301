"""Translations from the output of ``fairseq-generate``."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

from fairseq_lrn.data.languages import base
from fairseq_lrn.data.parallel import text_lines
from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE, Tokenizer
from fairseq_lrn.errors import InputError, cannot_read

LINE = re.compile(r"[STHDP]-\d+\t|Generate .+ with beam=")
COMPARED = 1000  # sentences


@dataclass
class GeneratedSentence:
    """A sentence in the output of ``fairseq-generate``.

    Attributes:
        source: tokenised source.
        reference: tokenised reference.
        hypothesis: tokenised best hypothesis.
        score: log-probability (base 2) of the hypothesis, per token.
    """

    source: str = ""
    reference: str = ""
    hypothesis: str = ""
    score: float = float("-inf")


def is_generate_output(path: str) -> bool:
    """Whether a file has lines of ``fairseq-generate``; otherwise it may have plain translations.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return any(LINE.match(line) for line in file)
    except OSError as error:
        raise cannot_read(path, error) from error


def moses_rules_of(
    sentences: Sequence[GeneratedSentence], references: Sequence[str], lang: str
) -> Optional[str]:
    """The language of Moses's rules by which the target side was tokenised, or None without Moses.

    The references in the output of ``fairseq-generate`` are as they are in the data, except for
    unknown subwords. If they share more words with the raw references than with the tokenised ones,
    the data are not tokenised. If that shows nothing, as in the output of ``fairseq-interactive``,
    the ends of the hypotheses decide: whether a space stands before their last full stop.

    Args:
        sentences: sentences of the output.
        references: their raw references.
        lang: the target language.
    """
    tokenize = Tokenizer(base(lang), lowercase=True)
    compared = list(zip(sentences, references))[:COMPARED]
    raw = tokenized = 0
    for sentence, reference in compared:
        words = Counter(sentence.reference.lower().split())
        raw += sum((words & Counter(reference.lower().split())).values())
        tokenized += sum((words & Counter(tokenize(reference).split())).values())
    if raw == tokenized:
        for sentence, _ in compared:
            for last in sentence.hypothesis.split()[1:][-1:]:
                if not last[-1].isalnum():
                    raw += len(last) > 1
                    tokenized += len(last) == 1
    return base(lang) if tokenized > raw else None


def read_translations(path: str) -> List[GeneratedSentence]:
    """The best hypothesis of every sentence, in the order of the data.

    Args:
        path: output of ``fairseq-generate`` or ``fairseq-interactive``.

    Raises:
        InputError: the file cannot be read, has no hypotheses, has subwords instead of words, or
            lacks sentences.
    """
    sentences: Dict[int, GeneratedSentence] = {}
    try:
        for line in text_lines(path):
            _read_line(line, sentences)
    except InputError:
        raise
    except ValueError as error:  # a score that is not a number
        raise InputError(f"{path} is not output of fairseq-generate: {error}") from error
    if not sentences or any(t.score == float("-inf") for t in sentences.values()):
        raise InputError(
            f"{path} is not complete output of fairseq-generate: it lacks hypotheses "
            "(lines H-0, H-1, ...); generate again without --quiet"
        )
    if sorted(sentences) != list(range(len(sentences))):
        raise InputError(
            f"{path} has {len(sentences)} sentences, but numbers up to {max(sentences)}: "
            "fairseq left some out; generate again with --user-dir fairseq_lrn and without "
            "--skip-invalid-size-inputs-valid-test"
        )
    segmented = sum(SENTENCEPIECE_SPACE in t.hypothesis for t in sentences.values())
    if 2 * segmented > len(sentences):
        raise InputError(
            f"{path} has subwords instead of words: generate again with --remove-bpe sentencepiece"
        )
    return [sentences[number] for number in sorted(sentences)]


def _read_line(line: str, sentences: Dict[int, GeneratedSentence]) -> None:
    """Add a source (``S-N``), reference (``T-N``) or hypothesis (``H-N``) to its sentence."""
    tag, _, rest = line.partition("\t")
    kind, _, number = tag.partition("-")
    if kind not in ("S", "T", "H") or not number.isdecimal():
        return
    sentence = sentences.setdefault(int(number), GeneratedSentence())
    if kind == "S":
        sentence.source = rest
    elif kind == "T":
        sentence.reference = rest
    elif sentence.score == float("-inf"):  # with --nbest, the best hypothesis comes first
        score, _, sentence.hypothesis = rest.partition("\t")
        sentence.score = float(score)
