"""Which pairs are dropped, and what the log says about it."""

import pytest

from fairseq_lrn.data.cleaning import clean, warn_of_overlap
from fairseq_lrn.data.languages import policy
from fairseq_lrn.errors import InputError

WORDS = (policy("en", "moses").length, policy("de", "moses").length)


def test_reasons(caplog):
    source = ["a b", "", "a", "a a a a", "a b c"]
    target = ["x", "x", "", "x", "x y z"]
    with caplog.at_level("INFO"):
        assert clean((source, target), WORDS, 3, 2.0) == (["a b", "a b c"], ["x", "x y z"])
    info, warning = (record.message for record in caplog.records)
    assert info == (
        "cleaning: 2 of 5 pairs kept; dropped: 2 with an empty side, 1 longer than 3 words"
    )
    assert warning.startswith("warning: cleaning dropped 60% of the training pairs: check that")


def test_ratio(caplog):
    with caplog.at_level("INFO"):
        clean((["a"] * 100, ["x"] * 99 + ["x x x"]), WORDS, 9, 2.5)
    assert [record.message for record in caplog.records] == [
        "cleaning: 99 of 100 pairs kept; dropped: 1 with lengths that differ by a factor above 2.5"
    ]  # and no warning


@pytest.mark.parametrize(
    "lang, line",
    [
        ("zh-CN", "昨天老师在家里买了一本红书。"),
        ("ja", "昨日、先生は駅で赤い本を買いました。"),
        ("th", "เมื่อวานครูซื้อหนังสือสีแดงที่บ้าน"),
        ("km", "ម្សិលមិញគ្រូបានទិញសៀវភៅក្រហមនៅផ្ទះ។"),
        ("my", "မနေ့ကဆရာမကအိမ်မှာစာအုပ်အနီတစ်အုပ်ဝယ်ခဲ့တယ်။"),
    ],
)
def test_languages_without_spaces(lang, line):
    """A good pair is kept, and half a page beside a sentence is dropped."""
    sides = ["Yesterday the teacher bought a red book at home ."] * 2, [line, 6 * line]
    measures = policy("en", "moses").length, policy(lang, "moses").length
    assert clean(sides, measures, 175, 3.0) == (sides[0][:1], [line])


def test_nothing_left():
    with pytest.raises(InputError, match=r"all 2 training pairs \(2 longer than 1 words\): check"):
        clean((["a b"] * 2, ["a b"] * 2), WORDS, 1, 3.0)


def test_overlap(caplog):
    training = zip("abc", "ABC")
    warn_of_overlap({"valid": (["a", "b"], ["A", "X"]), "test": (["d"], ["D"])}, training)
    assert [record.message for record in caplog.records] == [
        "warning: 1 of the 2 pairs of valid are in the training text, so scores on them are too "
        "high: remove them from one of the two"
    ]
