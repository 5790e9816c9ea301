"""Which rows a table has."""

from typing import Optional, Sequence

from fairseq_lrn.errors import InputError


def select_rows(candidates: Sequence, names: Optional[Sequence[str]]) -> list:
    """Those of the candidates that have one of the names.

    Args:
        candidates: with a ``name`` each.
        names: of those that are wanted; None: all.

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
