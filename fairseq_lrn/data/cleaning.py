"""Dropping pairs that are no good for training, and finding pairs that are in two splits."""

import itertools
import logging
from collections import Counter
from typing import Callable, Dict, Iterable, List, Tuple

from fairseq_lrn.errors import InputError

logger = logging.getLogger(__name__)

MANY = 0.05  # share of dropped pairs that gets a warning

Sides = Tuple[List[str], List[str]]
Measure = Callable[[str], int]


def clean(
    sides: Sides, measures: Tuple[Measure, Measure], max_length: int, max_ratio: float
) -> Sides:
    """Drop pairs with an empty side, with a side that is too long, or with very different lengths.

    The log says how many pairs are dropped for which reason.

    Args:
        sides: source and target lines.
        measures: functions that give the length of a source line and of a target line, in words.
        max_length: longest sentence that is kept, in words.
        max_ratio: largest ratio of the two lengths that is kept.

    Returns:
        source and target lines of the pairs that are kept.

    Raises:
        InputError: no pair is left.
    """
    kept = []
    dropped: Counter[str] = Counter()
    for pair in zip(*sides):
        shorter, longer = sorted(measure(line) for measure, line in zip(measures, pair))
        if shorter == 0:
            dropped["with an empty side"] += 1
        elif longer > max_length:
            dropped[f"longer than {max_length} words"] += 1
        elif longer > max_ratio * shorter:
            dropped[f"with lengths that differ by a factor above {max_ratio:g}"] += 1
        else:
            kept.append(pair)
    _report(len(kept), dropped)
    return [source for source, _ in kept], [target for _, target in kept]


def _report(kept: int, dropped: "Counter[str]") -> None:
    """Log what cleaning did.

    Args:
        kept: number of pairs that were kept.
        dropped: number of pairs that were dropped, for each reason.

    Raises:
        InputError: no pair was kept.
    """
    total = kept + sum(dropped.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
    logger.info("cleaning: %d of %d pairs kept%s", kept, total, reasons and f"; dropped: {reasons}")
    remedy = (
        "check that line n of one file translates line n of the other, that text without spaces "
        "between words has its language's code (zh, ja, th, ...), and raise --max-length or "
        "--max-ratio if these pairs are good"
    )
    if kept == 0:
        raise InputError(f"cleaning dropped all {total} training pairs ({reasons}): {remedy}")
    if total - kept > MANY * total:
        share = 100 * (total - kept) / total
        logger.warning("warning: cleaning dropped %.0f%% of the training pairs: %s", share, remedy)


def warn_of_overlap(splits: Dict[str, Sides], training: Iterable[Tuple[str, str]]) -> None:
    """Log a warning for each split that has pairs of the training text.

    Args:
        splits: source and target lines of each split.
        training: the training pairs.
    """
    pairs = {split: list(zip(*sides)) for split, sides in splits.items()}
    found = set(itertools.chain(*pairs.values())).intersection(training)
    for split in pairs:
        if count := sum(pair in found for pair in pairs[split]):
            logger.warning(
                "warning: %d of the %d pairs of %s are in the training text, so scores on them are "
                "too high: remove them from one of the two",
                count, len(pairs[split]), split,
            )  # fmt: skip
