"""The corpus of the quick start."""

from toy_grammar import generate


def test_the_seed_determines_the_pairs_and_no_sentence_repeats():
    pairs = generate(2000)
    assert pairs == generate(2000)
    assert pairs != generate(2000, seed=2)
    assert len({english for english, _ in pairs}) == 2000


def test_phenomena():
    """The corpus has the phenomena that require reordering and agreement."""
    pairs = generate(4000)
    german = "\n".join(target for _, target in pairs)
    for piece in (
        " ruft ",  # a verb with a separated prefix
        " an.",
        " anruft",  # the same verb at the end of a clause, not separated
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
    raise AssertionError("20,000 pairs do not include the sentence")
