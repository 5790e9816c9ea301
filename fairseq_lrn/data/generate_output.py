"""Translations out of what ``fairseq-generate`` prints."""

from dataclasses import dataclass
from typing import Dict, List

from fairseq_lrn.data.tokenization import SENTENCEPIECE_SPACE
from fairseq_lrn.errors import InputError


@dataclass
class GeneratedSentence:
    """One sentence of ``fairseq-generate`` output, as printed (tokenised).

    ``score`` is the model's: log-probability (base 2) per token.
    """

    source: str = ""
    reference: str = ""
    hypothesis: str = ""
    score: float = float("-inf")


def read_translations(path: str) -> List[GeneratedSentence]:
    """Best hypothesis of every sentence, in the order of the data.

    Args:
        path: what ``fairseq-generate`` or ``fairseq-interactive`` printed.

    Raises:
        InputError: the file has no hypotheses, or unmerged BPE, or sentences are missing.
    """
    found: Dict[int, GeneratedSentence] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                tag, _, rest = line.rstrip("\n").partition("\t")
                kind, _, number = tag.partition("-")
                if kind not in ("S", "T", "H") or not number.isdecimal():
                    continue
                translation = found.setdefault(int(number), GeneratedSentence())
                if kind == "S":
                    translation.source = rest
                elif kind == "T":
                    translation.reference = rest
                elif translation.score == float("-inf"):  # with --nbest the best comes first
                    score, _, translation.hypothesis = rest.partition("\t")
                    translation.score = float(score)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not found or any(t.score == float("-inf") for t in found.values()):
        raise InputError(
            f"{path} is not complete output of fairseq-generate: it lacks hypotheses "
            "(lines H-0, H-1, ...); generate again without --quiet"
        )
    if sorted(found) != list(range(len(found))):
        raise InputError(
            f"{path} has {len(found)} sentences, but numbers up to {max(found)}: "
            "fairseq left some out; generate again with --required-batch-size-multiple 1 and "
            "without --skip-invalid-size-inputs-valid-test"
        )
    segmented = sum(SENTENCEPIECE_SPACE in t.hypothesis for t in found.values())
    if 2 * segmented > len(found):
        raise InputError(
            f"{path} holds BPE pieces, not words: generate again with --remove-bpe sentencepiece"
        )
    return [found[number] for number in sorted(found)]
