"""fairseq-lrn answer."""

import io
import json

import pytest

from fairseq_lrn import load_reader
from fairseq_lrn.commands.main import main
from fairseq_lrn.data.answers import score
from fairseq_lrn.data.span_files import read_spans
from labelled_corpus import untrained_model, write_spans


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("questions"), "questions")


PAIRS = [("Where is Ada?", "Ada is in  New York."), ("Who?", "Ben runs.")]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "questions.tsv"
    path.write_text("".join("\t".join(pair) + "\n" for pair in PAIRS))
    return path


@pytest.mark.parametrize("options", [[], ["--buffer-size", "1"]])
def test_columns(run, checkpoints, file, options):
    reader = load_reader(checkpoints)
    rows = [line.split("\t") for line in run("answer", checkpoints, file, *options).splitlines()]
    for (question, context), (text, probability, start, end) in zip(PAIRS, rows, strict=True):
        expected = reader(question, context)
        assert (int(start), int(end)) == (expected.start, expected.end)
        assert text == " ".join(expected.text.split())
        assert float(probability) == pytest.approx(expected.probability, abs=1e-4)


def test_json(run, checkpoints, file):
    output = run("answer", checkpoints, file, "--json")
    records = [json.loads(line) for line in output.splitlines()]
    assert [(record["question"], record["context"]) for record in records] == PAIRS
    for record in records:
        assert record["context"][record["start"] : record["end"]] == record["text"]


def test_squad(checkpoints, tmp_path, capfd, monkeypatch):
    write_spans(str(tmp_path))
    valid = tmp_path / "valid.json"
    main(["answer", str(checkpoints), str(valid), "--squad"])
    printed = capfd.readouterr()
    predictions = json.loads(printed.out)
    file = read_spans(str(valid))
    assert list(predictions) == file.ids
    scores = score(predictions, file)
    assert f"em {scores.exact_match:.2f} f1 {scores.f1:.2f} (12 questions)" in printed.err
    output = tmp_path / "answers.json"
    main(["answer", str(checkpoints), str(valid), "--squad", "--output", str(output)])
    assert json.loads(output.read_text()) == predictions
    for arguments in ([], ["-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(valid.read_bytes())))
        main(["answer", str(checkpoints), "--squad", *arguments])
        assert json.loads(capfd.readouterr().out) == predictions


def test_squad_without_answers(checkpoints, tmp_path, capfd):
    write_spans(str(tmp_path))
    content = json.loads((tmp_path / "valid.json").read_text())
    for paragraph in content["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            del question["answers"]
    (tmp_path / "asked.json").write_text(json.dumps(content))
    main(["answer", str(checkpoints), str(tmp_path / "asked.json"), "--squad"])
    printed = capfd.readouterr()
    assert len(json.loads(printed.out)) == 12 and " f1 " not in printed.err


def test_refused(refuse, checkpoints, file, tmp_path):
    (tmp_path / "one").write_text("no tab\n")
    message = refuse("answer", checkpoints, tmp_path / "one")
    assert "one, line 1 must have a question and a text separated by a tab" in message
    (tmp_path / "one").write_text("Where?\tIn London.\n \tIn London.\n")
    assert "one, line 2 has an empty question" in refuse("answer", checkpoints, tmp_path / "one")
    assert "--squad reads one FILE" in refuse("answer", checkpoints, file, file, "--squad")
    assert "--buffer-size has no effect with --squad" in refuse(
        "answer", checkpoints, file, "--squad", "--buffer-size", "4"
    )
    assert "this is not JSON" in refuse("answer", checkpoints, file, "--squad")
    assert "--buffer-size must be at least 1" in refuse(
        "answer", checkpoints, file, "--buffer-size", "0"
    )
