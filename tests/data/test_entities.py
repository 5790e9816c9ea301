"""Tags of named entities."""

import itertools

import pytest

from fairseq_lrn.data.entities import (
    IOB1,
    IOB2,
    IOBES,
    SCHEMES,
    allowed_transitions,
    scheme_fault,
    spans,
    to_iob2,
    to_iobes,
)

# The same sentences in IOB2 and IOBES, and their entities.
SENTENCES = [
    ("", "", []),
    ("O", "O", []),
    ("B-PER", "S-PER", [("PER", 0, 1)]),
    ("B-PER I-PER", "B-PER E-PER", [("PER", 0, 2)]),
    ("O B-LOC I-LOC I-LOC O", "O B-LOC I-LOC E-LOC O", [("LOC", 1, 4)]),
    (
        "B-PER B-PER I-PER B-LOC O B-LOC",
        "S-PER B-PER E-PER S-LOC O S-LOC",
        [("PER", 0, 1), ("PER", 1, 3), ("LOC", 3, 4), ("LOC", 5, 6)],
    ),
    ("B-work-of-art I-work-of-art", "B-work-of-art E-work-of-art", [("work-of-art", 0, 2)]),
]
# Tags that a model without constraints may choose, and their entities.
FAULTY = [
    ("I-PER", [("PER", 0, 1)]),
    ("O E-PER", [("PER", 1, 2)]),
    ("B-PER O", [("PER", 0, 1)]),
    ("B-PER I-LOC E-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
    ("S-PER I-PER", [("PER", 0, 1), ("PER", 1, 2)]),
    ("B-PER E-PER E-PER", [("PER", 0, 2), ("PER", 2, 3)]),
    ("I-PER B-PER S-PER", [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
]
WRONG = ("B-", "O-PER", "b-PER", "BI-PER", "-PER")  # in all schemes
TAGS = ["O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BIES")]


@pytest.mark.parametrize("iob2, iobes, entities", SENTENCES)
def test_right_tags(iob2, iobes, entities):
    iob2, iobes = iob2.split(), iobes.split()
    assert scheme_fault(iob2, IOB2) is None and scheme_fault(iobes, IOBES) is None
    assert to_iobes(iob2) == iobes
    assert to_iob2(iobes) == iob2
    assert spans(iob2) == spans(iobes) == entities


@pytest.mark.parametrize("tags, entities", FAULTY)
def test_faulty_tags(tags, entities):
    tags = tags.split()
    assert spans(tags) == entities
    converted = to_iob2(tags)
    assert scheme_fault(converted, IOB2) is None
    assert len(converted) == len(tags) and spans(converted) == entities


@pytest.mark.parametrize(
    "scheme, tags, index, reason",
    [
        (IOB2, "I-PER", 0, "the tag I-PER does not follow B-PER or I-PER"),
        (IOB2, "B-PER O I-PER", 2, "the tag I-PER does not follow B-PER or I-PER"),
        (IOB2, "O B-PER I-LOC", 2, "the tag I-LOC does not follow B-LOC or I-LOC"),
        (IOB2, "B-PER I-PER I-LOC", 2, "the tag I-LOC does not follow"),
        (IOB2, "B-PER E-PER", 1, "the tag E-PER belongs to the scheme IOBES, not to IOB2"),
        (IOB2, "O S-PER", 1, "the tag S-PER belongs to the scheme IOBES"),
        (IOB2, "O PER", 1, "the tag 'PER' is neither O nor B-TYPE nor I-TYPE"),
        (IOB1, "O X-PER", 1, "the tag 'X-PER' is neither O nor B-TYPE nor I-TYPE"),
        (IOB1, "I-PER S-PER", 1, "the tag S-PER belongs to the scheme IOBES, not to IOB1"),
        (IOBES, "S-PER PER", 1, "the tag 'PER' is neither O nor B-TYPE nor I-TYPE nor E-TYPE nor"),
        (IOBES, "S-PER E-PER", 1, "the tag E-PER does not follow B-PER or I-PER"),
        (IOBES, "B-PER I-LOC E-LOC", 1, "the tag I-LOC does not follow B-LOC or I-LOC"),
        (IOBES, "B-PER O", 1, "the tag O follows B-PER, whose entity has not ended"),
        (IOBES, "B-PER I-PER S-PER", 2, "the tag S-PER follows I-PER, whose entity has not ended"),
        (IOBES, "O B-PER I-PER", 2, "the tag I-PER is the last one, but its entity has not ended"),
        *((scheme, tag, 0, f"the tag '{tag}' is neither") for scheme in SCHEMES for tag in WRONG),
    ],
)
def test_faults(scheme, tags, index, reason):
    found, message = scheme_fault(tags.split(), scheme)
    assert found == index
    assert message.startswith(reason)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_empty_tag(scheme):
    found, message = scheme_fault(["O", ""], scheme)
    assert found == 1 and message.startswith("the tag '' is neither O nor B-TYPE nor I-TYPE")


def test_allowed_transitions():
    start, transitions, end = allowed_transitions(["O", "B-A", "I-A", "E-A", "S-A", "I-B"])
    assert start == [True, True, False, False, True, False]
    assert end == [True, False, False, True, True, False]
    after_an_entity = [True, True, False, False, True, False]
    within_an_entity = [False, False, True, True, False, False]
    assert transitions == [
        *(after_an_entity, within_an_entity, within_an_entity, after_an_entity, after_an_entity),
        [False] * 5 + [True],
    ]


def test_allowed_sequences_are_those_of_iobes():
    """A sequence is allowed if and only if conversion to IOB2 and back does not change it."""
    start, transitions, end = allowed_transitions(TAGS)
    count = 0
    for path in itertools.product(range(len(TAGS)), repeat=4):
        tags = [TAGS[index] for index in path]
        allowed = start[path[0]] and end[path[-1]]
        allowed = allowed and all(transitions[a][b] for a, b in zip(path, path[1:]))
        assert allowed == (to_iobes(to_iob2(tags)) == tags)
        assert allowed == (scheme_fault(tags, IOBES) is None)
        count += allowed
    # A sentence of n words begins with O or with an entity of one of two types and any length:
    # f(n) = f(n - 1) + 2 (f(n - 1) + ... + f(0)) and f(0) = 1, so 1, 3, 11, 41, 153.
    assert count == 153


def test_agrees_with_seqeval():
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    for length in range(5):
        for tags in itertools.product(TAGS, repeat=length):
            expected = labeling.get_entities(list(tags))
            assert spans(tags) == [(kind, first, last + 1) for kind, first, last in expected]
            assert spans(to_iob2(tags)) == spans(tags)
            assert scheme_fault(to_iob2(tags), IOB2) is None


def test_iob1_agrees_with_seqeval():
    scheme = pytest.importorskip("seqeval.scheme")
    tags_of_iob1 = [tag for tag in TAGS if tag[0] in "OIB"]
    for tags in itertools.product(tags_of_iob1, repeat=4):
        assert scheme_fault(tags, IOB1) is None
        (expected,) = scheme.Entities([list(tags)], scheme.IOB1).entities
        right = all(
            tag[0] != "B" or before[1:] == tag[1:] for before, tag in zip(("O", *tags), tags)
        )
        if right:  # seqeval leaves out entities whose B-TYPE follows no entity of this type
            assert spans(tags) == [(one.tag, one.start, one.end) for one in expected]
