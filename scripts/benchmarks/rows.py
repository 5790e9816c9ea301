"""Selecting the rows of a table."""

from typing import Optional, Sequence

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
