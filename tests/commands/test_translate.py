"""fairseq-lrn translate, untrained. end_to_end/test_translate.py has a trained model."""

import json
import os
import sys
import threading

import pytest

from fairseq_lrn import Translation, Translator, load_translator
from fairseq_lrn.commands.main import main
from fairseq_lrn.data import parallel


@pytest.fixture(scope="module")
def sentences(prepared_data):
    return [*parallel.read_lines(str(prepared_data.parent / "train.en"))[:2], ""]


@pytest.fixture(scope="module")
def expected(untrained, sentences):
    return load_translator(str(untrained)).hypotheses(sentences, nbest=2, attention=True)


@pytest.fixture
def file(tmp_path, sentences):
    path = tmp_path / "source"
    parallel.write_lines(str(path), sentences)
    return path


def test_one_line_per_sentence(run, untrained, file, expected):
    lines = [translations[0].text for translations in expected]
    assert run("translate", untrained, file).splitlines() == lines
    assert run("translate", untrained, file, "--buffer-size", 1).splitlines() == lines


def test_standard_input(run, untrained, file, expected, monkeypatch):
    with open(file) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        lines = run("translate", untrained).splitlines()
    assert lines == [translations[0].text for translations in expected]


def test_columns(run, untrained, file, expected):
    options = ["--nbest", 2, "--scores", "--alignment"]
    rows = [line.split("\t") for line in run("translate", untrained, file, *options).splitlines()]
    assert [int(row[0]) for row in rows] == [0, 0, 1, 1, 2]
    translations = sum(expected, [])
    assert [row[2] for row in rows] == [translation.text for translation in translations]
    for row, translation in zip(rows, translations):
        assert float(row[1]) == pytest.approx(translation.score, abs=1e-4)
        assert row[3] == " ".join(f"{s}-{t}" for s, t in translation.alignment)


def test_json(run, untrained, file, sentences, expected):
    lines = run("translate", untrained, file, "--nbest", 2, "--alignment", "--json").splitlines()
    for number, (line, sentence, translations) in enumerate(zip(lines, sentences, expected)):
        record = json.loads(line)
        assert (record["number"], record["source"]) == (number, sentence)
        assert record["source_words"] == translations[0].source_words
        for found, translation in zip(record["translations"], translations):
            assert found["text"] == translation.text and found["words"] == translation.words
            assert found["score"] == pytest.approx(translation.score, abs=1e-4)
            scores = pytest.approx(translation.positional_scores, abs=1e-4)
            assert found["positional_scores"] == scores
            assert found["alignment"] == [list(pair) for pair in translation.alignment]
    assert "alignment" not in run("translate", untrained, file, "--json")


def test_lines_of_windows(run, untrained, file):
    """Their carriage returns are no text."""
    expected = run("translate", untrained, file, "--json")
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert run("translate", untrained, file, "--json") == expected


def test_output_file(run, untrained, file, expected, tmp_path):
    output = tmp_path / "output"
    assert run("translate", untrained, file, file, "--output", output) == ""
    lines = [translations[0].text for translations in expected]
    assert output.read_text().splitlines() == 2 * lines


def test_interrupted_run_keeps_what_it_has(refuse, untrained, file, expected, tmp_path):
    """The lines before the one that cannot be read are translated, and the message says where."""
    output = tmp_path / "output"
    output.write_text("earlier")
    file.write_bytes(file.read_bytes() + b"B\xe4r\nlast\n")
    message = refuse("translate", untrained, file, "--output", output)
    assert "source is not UTF-8 (line 4): convert it" in message
    (kept,) = tmp_path.glob("output.*.incomplete")
    assert f"the output so far is in {kept}\n" in message
    lines = [translations[0].text for translations in expected]
    assert kept.read_text().splitlines() == lines and output.read_text() == "earlier"


@pytest.mark.timeout(120)  # it would wait for the output
def test_output_comes_while_input_pauses(run, untrained, sentences, expected, monkeypatch):
    """As with a slow program in front of the command: it translates the lines that are there."""
    source, results = os.pipe(), os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(source[0]))
    output = f"/dev/fd/{results[1]}"
    command = threading.Thread(target=run, args=("translate", untrained, "--output", output))
    command.start()
    with os.fdopen(results[0]) as reader, os.fdopen(source[1], "w") as writer:
        for sentence, translations in zip(sentences, expected):
            print(sentence, file=writer, flush=True)
            assert reader.readline() == f"{translations[0].text}\n"
        writer.close()
        command.join()
    os.close(results[1])
    sys.stdin.close()


def test_limit_of_length(run, untrained, file, monkeypatch):
    """The translator has the tests of what the options do."""
    calls = []

    def hypotheses(self, sentences, **options):
        calls.append((options["max_source_length"], options["truncate"]))
        return [[Translation("", 0.0, [], [])] for _ in sentences]

    monkeypatch.setattr(Translator, "hypotheses", hypotheses)
    run("translate", untrained, file)
    run("translate", untrained, file, "--max-source-length", 7, "--truncate")
    assert calls == [(None, False), (7, True)]


def test_refused_input(refuse, untrained, file):
    assert "cannot read nowhere: No such file" in refuse("translate", untrained, "nowhere")
    message = "--buffer-size must be at least 1, not 0"
    assert message in refuse("translate", untrained, file, "--buffer-size", 0)


def test_standard_input_that_cannot_be_read(refuse, untrained, tmp_path, monkeypatch):
    (tmp_path / "latin").write_bytes(b"B\xe4r\n")
    with open(tmp_path / "latin") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert "standard input is not UTF-8 (line 1)" in refuse("translate", untrained)
    monkeypatch.setattr(sys, "stdin", None)  # closed, as in some services
    message = "cannot read standard input: Bad file descriptor"
    assert message in refuse("translate", untrained)
    sys.stdin.close()


def test_full_disk_behind_standard_output(untrained, file, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as error:
            main(["translate", str(untrained), str(file)])
    assert error.value.code == 2
    assert "cannot write standard output: No space left on device" in capsys.readouterr().err


def test_output_in_place_of_an_input(refuse, untrained, file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    before = file.read_text()
    for output in (file, link):
        message = refuse("translate", untrained, file, "--output", output)
        assert f"--output {output} would replace the input: give another name" in message
    assert file.read_text() == before
