"""fairseq-lrn tag."""

import json

import pytest

from fairseq_lrn import load_tagger
from fairseq_lrn.commands.streams import Line
from fairseq_lrn.commands.tag import sentences, warn_of_columns
from labelled_corpus import untrained_model


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("tagged"), "tagged")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "texts"
    path.write_text("Ada lives in Paris.\n\nMaria runs\n")
    return path


def columns(found):
    return "".join(
        "".join(f"{word}\t{tag}\n" for word, tag in zip(text.words, text.tags)) + "\n"
        for text in found
    )


@pytest.mark.parametrize("options", [[], ["--buffer-size", "1"]])
def test_columns_out(run, checkpoints, file, options):
    expected = load_tagger(checkpoints)(["Ada lives in Paris.", "", "Maria runs"])
    assert run("tag", checkpoints, file, *options) == columns(expected)


def test_columns_in_and_out(run, checkpoints, tmp_path):
    path = tmp_path / "words"
    path.write_text("Ada NNP O\nlives VB O\n\n\nParis NNP B-LOC\n")
    expected = load_tagger(checkpoints).tag_words([["Ada", "lives"], ["Paris"]])
    assert run("tag", checkpoints, path, "--columns") == columns(expected)


def test_the_end_of_a_file_ends_a_sentence(run, checkpoints, tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    files[0].write_text("Ada\nlives\n")
    files[1].write_text("in IN\nParis NNP\n")  # another number of columns
    expected = load_tagger(checkpoints).tag_words([["Ada", "lives"], ["in", "Paris"]])
    assert run("tag", checkpoints, *files, "--columns") == columns(expected)


def test_white_space_in_a_column_is_refused(refuse, checkpoints, tmp_path):
    path = tmp_path / "words"
    path.write_text("Ada\tO\n\nNew York\tO\n")
    message = refuse("tag", checkpoints, path, "--columns")
    assert f"{path}, line 3: 3 columns, but the lines before have 2" in message


def test_json(run, checkpoints, file):
    records = [json.loads(line) for line in run("tag", checkpoints, file, "--json").splitlines()]
    assert [record["text"] for record in records] == ["Ada lives in Paris.", "", "Maria runs"]
    for record in records:
        assert len(record["words"]) == len(record["tags"])
        for entity in record["entities"]:
            assert record["text"][entity["start"] : entity["end"]] == entity["text"]


def test_tokenizer(run, checkpoints, file):
    assert run("tag", checkpoints, file, "--tokenizer", "space").splitlines()[3][:7] == "Paris.\t"


def test_refused(refuse, checkpoints, file):
    message = refuse("tag", checkpoints, file, "--columns", "--tokenizer", "space")
    assert "--columns gives the words: leave out --tokenizer" in message


def test_sentences():
    """A pause passes between sentences only: a sentence is never cut."""

    def found(*lines):
        return list(sentences(None if line is None else Line(line, "place") for line in lines))

    assert found("a x", None, "b y", "", None, "", "c z") == [["a", "b"], None, ["c"]]
    assert found("", "a") == [["a"]]
    assert found("-DOCSTART- O O", "", "a O") == [["a"]]


ROW, TEXT = "Ada NNP B-PER\n", "He flew a B-52\n"


@pytest.mark.parametrize(
    "text, is_warned",
    [
        (3 * ROW, True),
        (ROW + "\n" + "lives VB O\n" + ROW, True),
        (2 * ROW, False),
        (TEXT + ROW + "Ada lives.\n" + 3 * ROW, False),
        (2 * TEXT + "Ada lives.\n" + 3 * TEXT, False),
        (3 * "O\n", False),
    ],
)
def test_columns_without_the_option(text, is_warned, caplog):
    lines = [None, *(Line(line, "") for line in text.splitlines())]
    assert list(warn_of_columns(iter(lines))) == lines
    assert ("give --columns" in caplog.text) == is_warned
    assert len(caplog.records) == is_warned
