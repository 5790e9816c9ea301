"""What the log says about text that does not come back from subwords as it was."""

import json

import pytest

from fairseq_lrn.data.round_trip import difference, report_round_trip, sample

LINES = ["The dog sees the cat.", "The dog sees .", "The  dog."]


@pytest.mark.parametrize("lowercase", [False, True])
def test_report(data, caplog, lowercase):
    record = json.loads((data / "prepare.json").read_text())
    for lang, policy in record["policies"].items():
        policy["moses"] = lang
    (data / "prepare.json").write_text(json.dumps({**record, "lowercase": lowercase}))
    with caplog.at_level("INFO"):
        report_round_trip(str(data), "en", LINES)
    share, change, remedy = (record.message for record in caplog.records)
    assert share == "round trip: 66.7% of 3 en sentences come back from subwords as they were"
    article = "the" if lowercase else "The"
    assert change == f"  '{article} dog sees .' -> '{article} dog sees.'"
    assert "--tokenizer none" in remedy


def test_raw_text_comes_back(data, caplog):
    with caplog.at_level("INFO"):
        report_round_trip(str(data), "de", LINES)
    assert [record.message[:17] for record in caplog.records] == ["round trip: 100.0"]


@pytest.mark.parametrize("size, expected", [(3, 3), (2000, 2000), (4500, 2000)])
def test_sample(size, expected):
    lines = [str(number) for number in range(size)]
    assert len(sample(lines)) == expected
    assert sample(lines)[-1] == str(size - 1) if size < 2001 else int(sample(lines)[-1]) > size / 2


@pytest.mark.parametrize("size", [2001, 3999, 4001, 5999])
def test_sample_of_the_whole_text(size):
    numbers = list(map(int, sample([str(number) for number in range(size)])))
    steps = [after - before for before, after in zip(numbers, [*numbers[1:], size])]
    assert numbers[0] == 0 and max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    "before, after, expected",
    [
        (
            "a" * 50 + "b" + "c" * 50,
            "a" * 50 + "c" * 50,
            f"'{'a' * 12}b{'c' * 12}' -> '{'a' * 12}{'c' * 12}'",
        ),
        ("aa", "a", "'aa' -> 'a'"),
        ("", "x", "'' -> 'x'"),
    ],
)
def test_difference(before, after, expected):
    assert difference(before, after) == expected
