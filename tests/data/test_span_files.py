"""Reading SQuAD's format: what is read, and what is refused."""

import copy
import json

import pytest

from fairseq_lrn.data.span_files import Answer, read_spans
from fairseq_lrn.errors import InputError

CONTEXT = "Ada lived\nin London. \U0001f600 Ben did not."
FILE = {
    "version": "1.1",
    "data": [
        {
            "title": "People",
            "paragraphs": [
                {"context": "Nobody asks.", "qas": []},
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Where?",
                            "answers": [
                                {"text": "in London", "answer_start": 10},
                                {"text": "London", "answer_start": 13, "more": 1},
                            ],
                        },
                        {
                            "id": "q2",
                            "question": "Who did not?",
                            "answers": [{"text": "Ben", "answer_start": 23}],
                        },
                    ],
                },
            ],
        }
    ],
}


@pytest.fixture
def write(tmp_path):
    """A function that writes a file, after a change of its content."""

    def write(change=None):
        content = copy.deepcopy(FILE)
        if change is not None:
            change(content, content["data"][0]["paragraphs"][1])
        path = tmp_path / "file.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_a_file(write):
    file = read_spans(write())
    assert file.contexts == [CONTEXT] and file.owners == [0, 0] and file.ids == ["q1", "q2"]
    assert file.questions == ["Where?", "Who did not?"]
    assert file.answers[0] == [Answer("in London", 10), Answer("London", 13)]
    assert file.texts == (file.questions, file.contexts)


def test_a_file_without_answers(write):
    def remove(content, paragraph):
        for question in paragraph["qas"]:
            question["answers"] = []
        del paragraph["qas"][0]["answers"]

    path = write(remove)
    assert read_spans(path, needs_answers=False).answers == [[], []]
    with pytest.raises(InputError, match="question q1: there are no answers: add one, or remove"):
        read_spans(path)


def test_some_questions_without_answers(write):
    path = write(lambda _, paragraph: paragraph["qas"][1].pop("answers"))
    with pytest.raises(InputError, match="question q2: there are no answers: add one, or remove"):
        read_spans(path)
    with pytest.raises(InputError, match="question q2: .*or remove the answers of all other quest"):
        read_spans(path, needs_answers=False)


def test_byte_order_mark_and_missing_names(tmp_path):
    path = tmp_path / "file.json"
    content = {"data": [{"paragraphs": FILE["data"][0]["paragraphs"]}]}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    assert read_spans(str(path)).contexts == [CONTEXT]


def test_long_texts_are_shortened_in_messages(write):
    def change(_, paragraph):
        paragraph["context"] = "y" * 99
        paragraph["qas"][0]["answers"][0]["text"] = "x" * 99

    message = f"answer 1: '{'x' * 40}…' is not in the context .* where '{'y' * 40}…' is: count"
    with pytest.raises(InputError, match=message):
        read_spans(write(change))


def changed(path, value):
    """A change of a paragraph, at a path of keys."""

    def change(content, paragraph):
        *keys, last = path
        for key in keys:
            paragraph = paragraph[key]
        if value is None:
            del paragraph[last]
        else:
            paragraph[last] = value

    return change


FIRST = ("qas", 0)
ANSWER = (*FIRST, "answers", 0)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda content, _: content.update(version="v2.0"), "SQuAD 2.0 has questions without an"),
        (
            changed((*FIRST, "is_impossible"), True),
            "question q1: is_impossible is true, but SQuAD 2",
        ),
        (lambda content, _: content.update(version="SQuAD v2.0"), "SQuAD 2.0 has questions"),
        (lambda content, _: content.update(version=2), "SQuAD 2.0 has questions without an"),
        (lambda content, _: content.pop("data"), 'file.json: the key "data" is missing'),
        (lambda content, _: content.update(data=[]), "file.json has no questions"),
        (lambda content, _: content.update(data={}), '"data" must be a list'),
        (changed(("context",), None), r'article 1 \(People\), paragraph 2: the key "context"'),
        (changed(("context",), " \n"), 'paragraph 2: "context" has no words'),
        (changed((*FIRST, "question"), ""), 'question q1: "question" has no words'),
        (changed((*FIRST, "id"), None), 'paragraph 2, question 1: the key "id" is missing'),
        (changed((*FIRST, "id"), 7), 'question 1: "id" must be a string'),
        (changed((*FIRST, "id"), "q2"), "question q2: there are two questions with this id"),
        (changed((*FIRST, "answers"), []), "question q1: there are no answers"),
        (changed((*ANSWER, "text"), " "), 'question q1, answer 1: "text" has no words'),
        (
            changed((*ANSWER, "answer_start"), 11),
            "'in London' is not in the context at answer_start",
        ),
        (changed((*ANSWER, "answer_start"), -1), "answer_start -1"),
        (changed((*ANSWER, "answer_start"), True), '"answer_start" must be a whole number'),
        (changed((*ANSWER, "text"), "\ud800"), "U\\+D800"),
    ],
)
def test_what_is_refused(write, change, message):
    with pytest.raises(InputError, match=message):
        read_spans(write(change))


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"data": [\n1,,]}', "line 2, column 3: this is not JSON"),
        (b"", "line 1, column 1: this is not JSON"),
        (b'{"data":\n "\xff"}', "line 2"),
        (b"[]", "it must be an object"),
        (b"[" + 5000 * b"1" + b"]", "has a value that cannot be read"),
        (b"[" * 100_000, "too many brackets in brackets"),
    ],
)
def test_broken_files(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_spans(str(path))
    with pytest.raises(InputError, match="cannot read .*none.json"):
        read_spans(str(tmp_path / "none.json"))


def test_a_date_is_no_version(write):
    read_spans(write(lambda content, _: content.update(version="2024-01-01")))
