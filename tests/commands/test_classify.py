"""fairseq-lrn classify."""

import json

import pytest

from fairseq_lrn import load_classifier
from fairseq_lrn.commands.main import main
from labelled_corpus import untrained_model


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("reviews"), "reviews")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "texts"
    path.write_text("a fine film\n\ndull , far too long\n")
    return path


@pytest.mark.parametrize("options", [[], ["--buffer-size", "1", "--batch-size", "1"]])
def test_columns(run, checkpoints, file, options):
    expected = load_classifier(checkpoints)(file.read_text().split("\n")[:3])
    lines = run("classify", checkpoints, file, *options).splitlines()
    assert lines == [f"{found.label}\t{found.probability:.4f}" for found in expected]


def test_all_labels(run, checkpoints, file):
    first = run("classify", checkpoints, file, "--all").splitlines()[0].split("\t")
    assert sorted(first[::2]) == ["bad", "good"]
    assert float(first[1]) >= float(first[3])
    assert float(first[1]) + float(first[3]) == pytest.approx(1, abs=2e-4)


def test_json(run, checkpoints, file, tmp_path):
    output = tmp_path / "out.jsonl"
    assert run("classify", checkpoints, file, "--json", "--output", output) == ""
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [record["text"] for record in records] == ["a fine film", "", "dull , far too long"]
    assert records[0]["words"] == ["a", "fine", "film"]
    assert sum(records[0]["attention"]) == pytest.approx(1)
    assert records[0]["label"] in records[0]["probabilities"]


def test_pairs(run, refuse, tmp_path):
    directory = untrained_model(tmp_path, "pairs")
    path = tmp_path / "pairs"
    path.write_text("a dog\tan animal\na cat\tit runs\n")
    assert len(run("classify", directory, path).splitlines()) == 2
    wrong = tmp_path / "wrong"
    wrong.write_text("a dog\tan animal\nno tab\n")
    message = refuse("classify", directory, path, wrong)
    assert f"{wrong}, line 2 must have two texts separated by a tab" in message


def test_lines_before_a_bad_one_are_written(checkpoints, tmp_path, capfd):
    directory = untrained_model(tmp_path, "pairs")
    (tmp_path / "texts").write_text("a dog\tan animal\na cat\tit runs\nno tab\na dog\tit runs\n")
    with pytest.raises(SystemExit):
        main(["classify", str(directory), str(tmp_path / "texts")])
    printed = capfd.readouterr()
    assert len(printed.out.splitlines()) == 2 and "line 3 must have two texts" in printed.err


def test_refused(refuse, checkpoints, file, tmp_path):
    assert "--buffer-size must be at least 1" in refuse(
        "classify", checkpoints, file, "--buffer-size", "0"
    )
    file.write_bytes(b"good\nb\xe4d\n")
    assert "texts is not UTF-8 (line 2)" in refuse("classify", checkpoints, file)
    assert "has no averaged.pt" in refuse("classify", tmp_path, file)
    file.write_text("a fine film\nbad\tdull\n")  # a label would be read as a word
    message = refuse("classify", checkpoints, file)
    assert f"{file}, line 2 has 2 fields between tabs, and the model reads one text" in message
