"""Tags of named entities in the schemes IOB2 and IOBES.

The tag O stands for a word outside of all entities. In IOB2, the first word of an entity has the
tag B-TYPE, and the others have I-TYPE. In IOBES, the last word has E-TYPE, and the only word of an
entity S-TYPE, so each tag says more (Ratinov and Roth, 2009, where it is named BILOU).
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple


class Span(NamedTuple):
    """An entity: its type, the index of its first word, and that after its last word."""

    type: str
    start: int
    end: int


def iob2_fault(tags: Sequence[str]) -> Optional[Tuple[int, str]]:
    """The first tag that does not follow the scheme IOB2.

    Args:
        tags: the tags of a sentence.

    Returns:
        the tag's index and what is wrong with it; None if all tags are right.
    """
    previous: Tuple[str, str] = ("O", "")
    for index, tag in enumerate(tags):
        prefix, kind = _split(tag)
        if tag != "O" and not (prefix in ("B", "I", "E", "S") and kind):
            return index, f"the tag {tag!r} is neither O nor B-TYPE nor I-TYPE"
        if prefix in ("E", "S"):
            return index, f"the tag {tag} belongs to the scheme IOBES; convert the tags to IOB2"
        if prefix == "I" and previous not in (("B", kind), ("I", kind)):
            return index, (
                f"the tag {tag} does not follow B-{kind} or I-{kind}; if the scheme is IOB1, "
                "convert the tags to IOB2"
            )
        previous = prefix, kind
    return None


def spans(tags: Sequence[str]) -> List[Span]:
    """The entities of tags in IOB2 or IOBES, which may be faulty.

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
    """Convert tags from IOB2 to IOBES."""
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

    def begins(tag: str) -> bool:
        return _split(tag)[0] in ("O", "B", "S")

    def ends(tag: str) -> bool:
        return _split(tag)[0] in ("O", "E", "S")

    def may_follow(tag: str, following: str) -> bool:
        if ends(tag) or begins(following):
            return ends(tag) and begins(following)
        return _split(tag)[1] == _split(following)[1]

    return (
        [begins(tag) for tag in tags],
        [[may_follow(tag, following) for following in tags] for tag in tags],
        [ends(tag) for tag in tags],
    )


def _split(tag: str) -> Tuple[str, str]:
    """The prefix of a tag and its type, which may have hyphens."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind
