"""Translations from the output of fairseq-generate."""

import pytest

from fairseq_lrn.data.generate_output import (
    GeneratedSentence,
    is_generate_output,
    moses_rules_of,
    read_translations,
)
from fairseq_lrn.errors import InputError

OUTPUT = """\
S-1\tb .
T-1\tB .
H-1\t-0.5\tB , b .
D-1\t-0.5\tB , b .
P-1\t-0.5 -0.5
H-1\t-0.9\tsecond best
S-0\ta
T-0\tA
H-0\t-0.25\tA
Generate test with beam=5: BLEU4 = 1.00
"""


def test_best_hypotheses_in_the_order_of_the_data(tmp_path):
    path = tmp_path / "generated"
    path.write_text(OUTPUT)
    first, second = read_translations(str(path))
    assert (first.source, first.reference, first.hypothesis) == ("a", "A", "A")
    assert (second.hypothesis, second.score) == ("B , b .", -0.5)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "lacks hypotheses"),
        ("S-0\ta\nT-0\tA\n", "lacks hypotheses"),
        (OUTPUT.replace("-0\t", "-2\t"), "--user-dir fairseq_lrn"),
        ("H-0\t-1.0\t\u2581a \u2581b\n", "has subwords .* --remove-bpe sentencepiece"),
        ("H-0\t\n", "is not output of fairseq-generate: could not convert"),
    ],
)
def test_unusable_output(tmp_path, content, message):
    path = tmp_path / "generated"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_translations(str(path))


def test_other_encoding(tmp_path):
    (tmp_path / "generated").write_bytes(b"H-0\t-1.0\ta\nH-1\t-1.0\tB\xe4r\n")
    with pytest.raises(InputError, match=r"generated is not UTF-8 \(line 2\): convert it"):
        read_translations(str(tmp_path / "generated"))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read .*absent: No such file"):
        read_translations(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="cannot read .*absent: No such file"):
        is_generate_output(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    "content, expected",
    [
        (OUTPUT, True),
        (OUTPUT.splitlines()[-1], True),  # with --quiet
        ("Ein Hund .\n\nS-Bahn 1\tvoll\nGenerate it.\n", False),
    ],
)
def test_kind_of_file(tmp_path, content, expected):
    path = tmp_path / "translations"
    path.write_text(content)
    assert is_generate_output(str(path)) is expected


RAW = ["It's a dog, he says.", "No"]
TOKENIZED = ["It 's a dog , he says .", "No"]


@pytest.mark.parametrize(
    "in_data, lang, rules",
    [
        (TOKENIZED, "en-GB", "en"),
        (RAW, "en", None),
        ([line.lower() for line in RAW], "en", None),
        ([line.lower() for line in TOKENIZED], "en", "en"),
        (["<<unk>> a dog, he<<unk>>", "<<unk>>"], "en", None),
        (["It 's a <<unk>> , he says .", "<<unk>>"], "en", "en"),
        (["It 's a dog , he says .", "No"], "th", "th"),  # data of an older version
    ],
)
def test_moses_rules_of(in_data, lang, rules):
    sentences = [GeneratedSentence(reference=line) for line in in_data]
    if lang == "th":
        sentences = [GeneratedSentence(reference=line.replace(" 's", " ' s")) for line in in_data]
    assert moses_rules_of(sentences, RAW, lang) == rules


@pytest.mark.parametrize("hypotheses, rules", [(TOKENIZED, "en"), (RAW, None), (["", "a"], None)])
def test_without_references_the_hypotheses_decide(hypotheses, rules):
    """As in the output of fairseq-interactive."""
    sentences = [GeneratedSentence(hypothesis=line) for line in hypotheses]
    assert moses_rules_of(sentences, RAW, "en") == rules
