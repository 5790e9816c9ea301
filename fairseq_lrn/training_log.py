"""Reading what ``fairseq-train`` logs."""

import re
from typing import Dict, List

from fairseq_lrn.command import InputError

VALID = re.compile(r"epoch (\d+) \| valid on '\w+' subset \| (.+)")


def validations(path: str) -> List[Dict[str, float]]:
    """Statistics of each validation, by epoch; a resumed epoch counts once, as it came out last.

    Args:
        path: what ``fairseq-train --log-format simple`` printed.

    Raises:
        InputError: the file cannot be read or has no validation.
    """
    by_update = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                match = VALID.search(line)
                if match:
                    pairs = (item.split() for item in match.group(2).split(" | "))
                    row = {"epoch": float(match.group(1))}
                    row.update((pair[0], float(pair[1])) for pair in pairs if len(pair) == 2)
                    by_update[row["num_updates"]] = row
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not by_update:
        raise InputError(f"{path} has no validation: train with --log-format simple")
    return [by_update[update] for update in sorted(by_update)]


def table(rows: List[Dict[str, float]]) -> str:
    """A Markdown table of validations."""
    lines = [
        "| epoch | updates | loss | nll_loss | ppl |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['epoch']:.0f} | {row['num_updates']:.0f} | {row['loss']:.3f} "
            f"| {row['nll_loss']:.3f} | {row['ppl']:.2f} |"
        )
    return "\n".join(lines)
