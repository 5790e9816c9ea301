"""Readers with raw text: answers and their places, batches, bad input. The model is untrained."""

import pytest
import torch

from fairseq_lrn import FoundAnswer, load_classifier, load_reader
from fairseq_lrn.errors import InputError
from labelled_corpus import untrained_model


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("questions"), "questions")


@pytest.fixture(scope="module")
def reader(checkpoints):
    return load_reader(checkpoints, device="cpu")


QUESTIONS = ["Where does Ada live?", "Who?", "What is it, then"]
CONTEXTS = ["Ada lives in  New York.\nBen's in Rome.", "Nobody", "\u00c9t\u00e9 \U0001f600 is it!"]


def test_an_answer_has_its_place(reader):
    for question, context in zip(QUESTIONS, CONTEXTS):
        found = reader(question, context)
        assert isinstance(found, FoundAnswer) and 0 < found.probability <= 1
        assert found.text == context[found.start : found.end] and found.text == found.text.strip()


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_batch_gives_what_single_questions_give(reader, batch_size):
    alone = [reader(*pair) for pair in zip(QUESTIONS, CONTEXTS)]
    found = reader(QUESTIONS, CONTEXTS, batch_size=batch_size)
    for one, other in zip(alone, found):
        assert one._replace(probability=0) == other._replace(probability=0)
        assert one.probability == pytest.approx(other.probability, rel=1e-4)


def test_several_questions_about_one_context(reader):
    found = reader(QUESTIONS, CONTEXTS[0])
    assert found == reader(QUESTIONS, 3 * [CONTEXTS[0]])
    assert reader([], CONTEXTS[0]) == []


def test_a_long_context(reader):
    context = 5000 * "word " + "end"
    found = reader("Where?", context)
    assert found.text == context[found.start : found.end]
    assert len(found.text.split()) <= 16


def test_the_length_of_answers(reader):
    text = "a b c d e f g"
    assert len(reader("Where?", text, max_answer_distance=0).text.split()) == 1
    assert reader("Where?", text, max_answer_distance=15) == reader("Where?", text)
    for wrong in (-1, 1.5, "3"):
        with pytest.raises(InputError, match="max_answer_distance must be .* of at least 0, not"):
            reader("Where?", text, max_answer_distance=wrong)


@pytest.mark.parametrize(
    "questions, contexts, message",
    [
        (["a"], ["b", "c"], "there are 1 questions and 2 contexts: give one context, or as many"),
        ("", "b", "question 1 has no words"),
        ("a", " \n", "context 1 has no words"),
        (["a", "b"], ["c", None], "context 2 must be a string, not NoneType"),
        (["a", 5], "c", "question 2 must be a string, not int"),
        ("a\ud800", "b", "U\\+D800"),
    ],
)
def test_bad_input(reader, questions, contexts, message):
    with pytest.raises(InputError, match=message):
        reader(questions, contexts)


def test_bad_batch_size(reader):
    with pytest.raises(InputError, match="batch_size"):
        reader("a", "b", batch_size=0)


def test_another_model(checkpoints):
    with pytest.raises(InputError, match="classifier"):
        load_classifier(checkpoints, device="cpu")


def test_no_gradients(reader):
    with torch.enable_grad():
        assert reader("a", "b c").text in ("b", "c", "b c")
