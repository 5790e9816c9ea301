"""The quick start's corpus."""

from toy_grammar import generate


def test_deterministic_and_without_repetition():
    pairs = generate(2000)
    assert pairs == generate(2000)
    assert pairs != generate(2000, seed=2)
    assert len({english for english, _ in pairs}) == 2000


def test_phenomena():
    """What makes the corpus need reordering and agreement is in it."""
    pairs = generate(4000)
    german = "\n".join(target for _, target in pairs)
    for piece in (
        " ruft ",  # separated prefix ...
        " an.",
        " anruft",  # ... and the same verb, joined, at the end of a clause
        "angerufen hat",
        ", dass ",
        ", weil ",
        "undzwanzig ",
        " dem alten Mann",
        " den alten Mann",
        "er alte Mann",
        "in alter Mann",
        " alten Kindern",
    ):
        assert piece in german, piece


def test_sentences_are_well_formed():
    for english, german in generate(2000):
        for text in (english, german):
            assert text[0].isupper() and text.endswith(".")
            assert "  " not in text and " ," not in text and ",," not in text and ",." not in text


def test_known_translations():
    known = dict(generate(20000))
    for english, german in known.items():
        if english.startswith("On Monday a queen picks up the big letters"):
            assert german == "Am Montag hebt eine Königin die großen Briefe auf."
            return
    raise AssertionError("the sentence is not drawn")
