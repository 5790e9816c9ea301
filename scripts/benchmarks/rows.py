"""The rows of a table: which there are, and the table in Markdown."""

from typing import Any, Collection, Iterable, Optional, Sequence

from fairseq_lrn.errors import InputError


def select_rows(candidates: Sequence, names: Optional[Sequence[str]]) -> list:
    """The candidates with the given names, in their original order.

    Args:
        candidates: objects with an attribute ``name``.
        names: names to keep; None keeps all candidates.

    Raises:
        InputError: no candidate has one of the names.
    """
    unknown = set(names or ()) - {candidate.name for candidate in candidates}
    if unknown:
        raise InputError(
            f"no model is called {', '.join(sorted(unknown))}; choose from: "
            + "; ".join(candidate.name for candidate in candidates)
        )
    return [candidate for candidate in candidates if names is None or candidate.name in names]


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], text: Optional[Collection[str]] = None
) -> str:
    """A Markdown table.

    Args:
        columns: their names.
        rows: the cells of each row.
        text: columns that are text; the others are numbers, aligned to the right. None: the first
            column.
    """
    text = columns[:1] if text is None else text
    marks = ["---" if name in text else "---:" for name in columns]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (columns, marks, *rows))
