"""The metric of SQuAD, against that of torchmetrics."""

import random

import pytest

from fairseq_lrn.data.answers import Scores, exact_match, f1, normalize_answer, score
from fairseq_lrn.data.span_files import Answer, SpanFile
from fairseq_lrn.errors import InputError

WORDS = [
    "The",
    "an",
    "cat",
    "Cat's",
    "N.Y.",
    "(1",
    "a",
    "dog,",
    "the-dog",
    "\u00e9t\u00e9",
    "1,000",
]


def test_normalisation():
    assert normalize_answer(" The  cat's, (a) \nAnt an.d") == "cats ant and"


@pytest.mark.parametrize(
    "prediction, answers, is_exact, expected",
    [
        ("the Cat.", ["a dog", "cat"], True, 1.0),
        ("black cat", ["white cat", "dog"], False, 0.5),
        ("cat cat", ["cat"], False, 2 / 3),
        ("x", ["y"], False, 0.0),
        ("the", ["a"], True, 0.0),  # nothing is left; the official script does the same
    ],
)
def test_examples(prediction, answers, is_exact, expected):
    assert exact_match(prediction, answers) == is_exact
    assert f1(prediction, answers) == pytest.approx(expected)


def make_file(answers):
    names = [str(number) for number in range(len(answers))]
    found = [[Answer(text, 0) for text in texts] for texts in answers]
    return SpanFile("f.json", ["c"], ["q"] * len(names), names, [0] * len(names), found)


def test_it_is_the_metric_of_torchmetrics():
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    dice = random.Random(1)

    def text():
        # Of two texts without words, the official script says 0, and torchmetrics says 1.
        return " ".join(dice.choices(WORDS, k=dice.randint(1, 4))) + dice.choice([" cat", " x"])

    answers = [[text() for _ in range(dice.randint(1, 3))] for _ in range(300)]
    predictions = {str(number): text() for number in range(300)}
    expected = squad(
        [{"id": name, "prediction_text": found} for name, found in predictions.items()],
        [
            {"id": str(n), "answers": {"text": texts, "answer_start": [0] * len(texts)}}
            for n, texts in enumerate(answers)
        ],
    )
    found = score(predictions, make_file(answers))
    assert found.exact_match == pytest.approx(expected["exact_match"].item(), abs=1e-4)
    assert found.f1 == pytest.approx(expected["f1"].item(), abs=1e-4)
    assert 0 < found.exact_match < found.f1 < 100


def test_a_missing_answer_is_wrong():
    assert score({"0": "cat"}, make_file([["cat"], ["dog"]])) == Scores(50.0, 50.0, 2)


def test_a_question_without_a_right_answer():
    with pytest.raises(InputError, match="f.json, question 1: there is no right answer"):
        score({"0": "cat"}, make_file([["cat"], []]))


def test_an_unknown_question():
    with pytest.raises(InputError, match="f.json has no question 7"):
        score({"7": "cat"}, make_file([["cat"]]))
