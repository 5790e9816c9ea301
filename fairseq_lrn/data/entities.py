"""Tags of named entities in the schemes IOB1, IOB2 and IOBES.

The tag O stands for a word outside of all entities. In IOB2, the first word of an entity has the
tag B-TYPE, and the others have I-TYPE. In IOB1, as in the files of CoNLL-2003, all words have
I-TYPE; only the first word of an entity that follows another one of its type has B-TYPE. In IOBES,
the last word has E-TYPE, and the only word of an entity S-TYPE, so each tag says more (Ratinov and
Roth, 2009, where it is named BILOU).
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

SCHEMES = IOB2, IOB1, IOBES = ("IOB2", "IOB1", "IOBES")


class Span(NamedTuple):
    """An entity: its type, the index of its first word, and that after its last word."""

    type: str
    start: int
    end: int


def scheme_fault(tags: Sequence[str], scheme: str) -> Optional[Tuple[int, str]]:
    """The first tag that does not follow a scheme.

    Args:
        tags: the tags of a sentence.
        scheme: one of :data:`SCHEMES`. In IOB1, any first word of an entity may have B-TYPE.

    Returns:
        the tag's index and what is wrong with it; None if all tags are right.
    """
    prefixes = ("B", "I", "E", "S") if scheme == IOBES else ("B", "I")
    previous = "O"
    for index, tag in enumerate(tags):
        prefix, kind = _split(tag)
        if tag != "O" and not (kind and prefix in ("B", "I", "E", "S")):
            forms = " nor ".join(f"{prefix}-TYPE" for prefix in prefixes)
            return index, f"the tag {tag!r} is neither O nor {forms}"
        if prefix not in ("O", *prefixes):
            return index, f"the tag {tag} belongs to the scheme IOBES, not to {scheme}"
        if prefix in ("I", "E") and scheme != IOB1 and not _is_within(previous, tag):
            return index, f"the tag {tag} does not follow B-{kind} or I-{kind}"
        if scheme == IOBES and not _ends(previous) and _begins(tag):
            return index, f"the tag {tag} follows {previous}, whose entity has not ended"
        previous = tag
    if scheme == IOBES and not _ends(previous):
        return len(tags) - 1, f"the tag {previous} is the last one, but its entity has not ended"
    return None


def spans(tags: Sequence[str]) -> List[Span]:
    """The entities of tags in any of the schemes, which may be faulty.

    A word continues an entity if its tag is I-TYPE or E-TYPE, and the tag before is B-TYPE or
    I-TYPE of the same type. Any other word with a type begins an entity.

    Source: the script ``conlleval`` of CoNLL-2000, and seqeval's ``get_entities``.
    """
    found = []
    start, previous, previous_kind = 0, "O", ""
    for index, tag in enumerate([*tags, "O"]):
        prefix, kind = _split(tag)
        if prefix in ("I", "E") and previous in ("B", "I") and kind == previous_kind:
            previous = prefix
            continue
        if previous != "O":
            found.append(Span(previous_kind, start, index))
        start, previous, previous_kind = index, prefix, kind
    return found


def to_iobes(tags: Sequence[str]) -> List[str]:
    """Convert tags of any scheme to IOBES."""
    converted = ["O"] * len(tags)
    for kind, start, end in spans(tags):
        if end - start == 1:
            converted[start] = f"S-{kind}"
        else:
            inner = [f"I-{kind}"] * (end - start - 2)
            converted[start:end] = [f"B-{kind}", *inner, f"E-{kind}"]
    return converted


def to_iob2(tags: Sequence[str]) -> List[str]:
    """Convert tags from IOBES to IOB2. Of faulty tags, the entities are those of :func:`spans`."""
    converted = ["O"] * len(tags)
    for kind, start, end in spans(tags):
        converted[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return converted


def allowed_transitions(tags: Sequence[str]) -> Tuple[List[bool], List[List[bool]], List[bool]]:
    """Which sequences of tags are right in the scheme IOBES.

    Args:
        tags: the K tags that there are.

    Returns:
        whether each tag may be first, ``K``; whether each tag may be followed by another, ``K x K``
        (from, to); and whether each tag may be last, ``K``.
    """

    def may_follow(tag: str, following: str) -> bool:
        if _ends(tag) or _begins(following):
            return _ends(tag) and _begins(following)
        return _is_within(tag, following)

    return (
        [_begins(tag) for tag in tags],
        [[may_follow(tag, following) for following in tags] for tag in tags],
        [_ends(tag) for tag in tags],
    )


def _begins(tag: str) -> bool:
    """Whether a tag of IOBES can be the first one."""
    return _split(tag)[0] in ("O", "B", "S")


def _ends(tag: str) -> bool:
    """Whether a tag of IOBES can be the last one."""
    return _split(tag)[0] in ("O", "E", "S")


def _is_within(previous: str, tag: str) -> bool:
    """Whether *tag* continues the entity of the tag before it."""
    (before, kind), (prefix, own_kind) = _split(previous), _split(tag)
    return before in ("B", "I") and prefix in ("I", "E") and kind == own_kind


def _split(tag: str) -> Tuple[str, str]:
    """The prefix of a tag and its type, which may have hyphens."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind
