"""fairseq-lrn translate, untrained. end_to_end/test_translate.py has a trained model."""

import sys

import pytest

from fairseq_lrn import load_translator
from fairseq_lrn.commands.translate import output_file, read_lines
from fairseq_lrn.data import parallel
from fairseq_lrn.errors import InputError


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


def test_output_file(run, refuse, untrained, file, expected, tmp_path):
    output = tmp_path / "output"
    assert run("translate", untrained, file, file, "--output", output) == ""
    lines = [translations[0].text for translations in expected]
    assert output.read_text().splitlines() == 2 * lines
    (tmp_path / "latin").write_bytes(b"a\nB\xe4r\n")
    message = refuse("translate", untrained, tmp_path / "latin", "--output", output)
    assert "latin is not UTF-8 (line 2)" in message
    assert output.read_text().splitlines() == 2 * lines


def test_refused_input(refuse, untrained, file):
    assert "cannot read nowhere: No such file" in refuse("translate", untrained, "nowhere")
    message = "buffer_size must be a whole number above 0, not 0"
    assert message in refuse("translate", untrained, file, "--buffer-size", 0)


def test_only_line_feeds_end_lines(tmp_path):
    (tmp_path / "first").write_bytes("\ufeffa\u2028b\x0bc\r\n\nd".encode())
    (tmp_path / "second").write_bytes(b"e\n")
    files = [str(tmp_path / name) for name in ("first", "second")]
    assert list(read_lines(files)) == ["a\u2028b\x0bc\r", "", "d", "e"]


def test_incomplete_output_has_another_name(tmp_path):
    path = tmp_path / "output"
    with pytest.raises(InputError), output_file(str(path)) as file:
        file.write("a\n")
        raise InputError("give other input")
    assert not list(tmp_path.iterdir())
