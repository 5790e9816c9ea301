"""Preparing questions: their words, contexts, the places of words, and those of answers."""

import json

import pytest
import torch
from fairseq.data import Dictionary, indexed_dataset

from fairseq_lrn.data.labelled_options import LabelledOptions
from fairseq_lrn.data.labelled_text import LabelledText
from fairseq_lrn.data.prepare_labelled import prepare_labelled
from fairseq_lrn.data.prepare_spans import answer_words, check_spans, word_places
from fairseq_lrn.data.prepare_words import write_sequences
from fairseq_lrn.data.span_files import Answer, SpanFile, read_spans
from fairseq_lrn.errors import InputError
from labelled_corpus import write_spans

FIRST = "Ada, 36, isn't in Rio\n\nde  Janeiro. "
SECOND = " Ben\u2003paid $1,000.50!"
TRAIN = [
    (FIRST, [("Where isn't Ada?", ["Rio\n\nde  Janeiro", "Ada"]), ("How old?", ["36"])]),
    ("Nobody asks.", []),
    (SECOND, [("Who paid?", [" Ben"]), ("How much?", ["1,000"]), ("What?", ["n\u2003paid $"])]),
]
VALID = [(FIRST, [("Who?", ["Ada"])])]


@pytest.fixture
def make(tmp_path):
    """A function that writes files of questions and prepares them."""

    def make(train=TRAIN, valid=VALID, **options):
        for split, paragraphs in (("train", train), ("valid", valid)):
            content = {"data": [{"title": "T", "paragraphs": list(map(paragraph, paragraphs))}]}
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
            options[f"{split}pref"] = str(tmp_path / f"{split}.json")
        directory = tmp_path / "data"
        prepare_labelled(LabelledOptions(kind="spans", destdir=str(directory), **options))
        return directory

    return make


def paragraph(given):
    context, questions = given
    found = []
    for text, answers in questions:
        places = [{"text": answer, "answer_start": context.index(answer)} for answer in answers]
        found.append({"id": f"{len(context)}{text}", "question": text, "answers": places})
    return {"context": context, "qas": found}


def read(directory, name, split="train"):
    dataset = indexed_dataset.make_dataset(str(directory / name / split), "mmap")
    return [dataset[index].tolist() for index in range(len(dataset))]


def symbols(directory, name, dictionary=None):
    names = Dictionary.load(str(directory / (dictionary or name) / "dict.txt"))
    return [[names[token] for token in tokens] for tokens in read(directory, name)]


FIRST_WORDS = "Ada , 36 , is n't in Rio de Janeiro .".split()
SECOND_WORDS = "Ben paid $ 1,000.50 !".split()


def test_words(make):
    directory = make(workers=2)
    assert symbols(directory, "input0") == [
        ["Where", "is", "n't", "Ada", "?", "</s>"],
        ["How", "old", "?", "</s>"],
        ["Who", "paid", "?", "</s>"],
        ["How", "much", "?", "</s>"],
        ["What", "?", "</s>"],
    ]
    # Each context is there once, and one without questions is not.
    assert symbols(directory, "input1") == [[*FIRST_WORDS, "</s>"], [*SECOND_WORDS, "</s>"]]
    expected = [character for word in SECOND_WORDS for character in [*word, "</s>"]]
    assert symbols(directory, "characters1", "characters")[1] == expected
    assert len(symbols(directory, "characters0", "characters")) == 5
    dictionaries = [(directory / f"input{side}" / "dict.txt").read_text() for side in (0, 1)]
    assert dictionaries[0] == dictionaries[1] and "Nobody" not in dictionaries[0]
    assert "is 2\n" in dictionaries[0]  # once in a question, and once in a context


def test_answers(make):
    directory = make()
    # Context, first word, last word; of several answers the first one counts.
    assert read(directory, "label") == [[0, 7, 9], [0, 2, 2], [1, 0, 0], [1, 3, 3], [1, 0, 2]]
    assert read(directory, "label", "valid") == [[0, 0, 0]]
    assert not (directory / "label" / "dict.txt").exists()


def test_places(make):
    directory = make(lowercase=True)
    places = read(directory, "offsets1")
    for context, words, numbers in zip((FIRST, SECOND), (FIRST_WORDS, SECOND_WORDS), places):
        assert [context[a:b] for a, b in zip(numbers[::2], numbers[1::2])] == words
    assert read(directory, "offsets1", "valid") == [places[0]]


def test_copies_and_record(make, tmp_path):
    directory = make()
    for split in ("train", "valid"):
        copy = directory / "squad" / f"{split}.json"
        assert copy.read_bytes() == (tmp_path / f"{split}.json").read_bytes()
    text = LabelledText(str(directory))
    assert (text.kind, text.tokenizer, text.language) == ("spans", "punctuation", None)
    assert text.words(FIRST) == FIRST_WORDS


def test_options_of_words(make, tmp_path):
    (tmp_path / "vectors.txt").write_text("ada 1 2\nbenefit 3 4\n")
    directory = make(
        **{"lowercase": True, "threshold": 2, "characters": False, "all_vectors": True},
        vectors=str(tmp_path / "vectors.txt"),
    )
    dictionary = Dictionary.load(str(directory / "input1" / "dict.txt"))
    # "paid" is in a question and in a context.
    expected = {"ada", "benefit", "?", ",", "is", "n't", "how", "paid"}
    assert set(dictionary.symbols[4:]) == expected
    assert (directory / "vectors.txt").read_text().splitlines()[0] == "2 2"
    assert not list(directory.glob("characters*"))


def test_report(make, caplog):
    caplog.set_level("INFO")
    make()
    messages = [record.getMessage() for record in caplog.records]
    # "1,000" and "n paid $"; white space around an answer does not count.
    assert "train: 5 questions, 2 contexts; 2 answers begin or end inside of a word" in messages
    assert "valid: 1 questions, 1 contexts; 0 answers begin or end inside of a word" in messages
    assert "train: 32 words, 0.00% of them unknown" in messages


def test_words_that_overlap_an_answer(tmp_path, make):
    text = LabelledText(str(make()))
    context = "ab cd,ef"
    places = [word_places(text, context)]
    assert places == [[(0, 2), (3, 5), (5, 6), (6, 8)]]
    cases = {"ab": (0, 0), "b": (0, 0), "b c": (0, 1), " cd": (1, 1), ",": (2, 2), "d,e": (1, 3)}
    cases["ab cd,ef"] = (0, 3)
    answers = [[Answer(answer, context.index(answer))] for answer in cases]
    file = SpanFile("", [context], [""] * 7, [""] * 7, [0] * 7, answers)
    assert list(answer_words(file, places)) == [*cases.values()]


def test_small_corpus(tmp_path):
    """The corpus of other tests has each answer in its context."""
    write_spans(str(tmp_path))
    prepare_labelled(LabelledOptions("spans", str(tmp_path / "train.json"), str(tmp_path / "data")))
    file = read_spans(str(tmp_path / "train.json"))
    places = read(tmp_path / "data", "offsets1")
    labels = read(tmp_path / "data", "label")
    assert len(labels) == 60
    for answers, (owner, first, last) in zip(file.answers, labels):
        start, end = places[owner][2 * first], places[owner][2 * last + 1]
        assert file.contexts[owner][start:end] == answers[0].text


@pytest.mark.parametrize(
    "name", ["input0", "input1", "characters0", "characters1", "label", "offsets1"]
)
def test_data_that_do_not_belong_together(make, tmp_path, name):
    """The check finds files of other data."""
    directory = make()
    files = {"train": read_spans(str(tmp_path / "train.json"))}
    options = LabelledOptions("spans", "", "")
    check_spans(str(directory), files, options)
    for suffix in ("bin", "idx"):
        source = directory / name / f"valid.{suffix}"
        (directory / name / f"train.{suffix}").write_bytes(source.read_bytes())
    with pytest.raises(RuntimeError, match="words, answers and places of train do not belong"):
        check_spans(str(directory), files, options)


@pytest.mark.parametrize("row", [[0, 3, 2], [0, 0, 11], [1, 5, 5]])
def test_answers_outside_of_their_contexts(make, tmp_path, row):
    directory = make()
    files = {"train": read_spans(str(tmp_path / "train.json"))}
    rows = [row, *read(directory, "label")[1:]]
    write_sequences(str(directory / "label" / "train"), map(torch.tensor, rows), 100)
    with pytest.raises(RuntimeError, match="words, answers and places of train do not belong"):
        check_spans(str(directory), files, LabelledOptions("spans", "", ""))


def test_broken_file_leaves_nothing_behind(make, tmp_path):
    with pytest.raises(InputError, match="valid.json has no questions"):
        make(valid=[("Nobody asks.", [])])
    assert not list(tmp_path.glob("data*"))
