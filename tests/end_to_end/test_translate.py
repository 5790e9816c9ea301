"""Raw text in, raw text out: from Python, from the hub, with fairseq-lrn; and plots."""

import os
import shutil
import subprocess

import pytest
import torch

from fairseq_lrn import LRNModel, load_translator
from fairseq_lrn.modules.linear import can_pack

LINES = 40


@pytest.fixture(scope="module")
def moved(quickstart, tmp_path_factory):
    """The checkpoints alone, away from the data."""
    directory = tmp_path_factory.mktemp("moved") / "checkpoints"
    shutil.copytree(quickstart[0] / "checkpoints", directory)
    return directory


@pytest.fixture(scope="module")
def translator(moved):
    return load_translator(str(moved))


@pytest.fixture(scope="module")
def source(quickstart):
    return (quickstart[0] / "raw" / "test.en").read_text().splitlines()[:LINES]


@pytest.fixture(scope="module")
def expected(quickstart):
    """Translations of the same sentences by fairseq-generate, detokenised by fairseq-lrn score."""
    return (quickstart[0] / "generate-test.txt.detok").read_text().splitlines()[:LINES]


@pytest.fixture
def run(moved, root, warm):
    def run(*arguments, text=""):
        python = warm.stand_ins / "python"
        command = [python, "-m", "fairseq_lrn", "translate", *map(str, arguments)]
        result = subprocess.run(
            command, input=text.encode(), capture_output=True, cwd=root, env=os.environ
        )
        assert result.returncode == 0, result.stderr.decode()[-2000:]
        return result.stdout.decode()

    return run


def test_same_translations_as_fairseq_generate(translator, source, expected):
    assert translator(source) == expected
    assert translator(source, batch_size=1) == expected
    assert translator(source[3]) == expected[3]


def test_hub(moved, source, expected):
    model = LRNModel.from_pretrained(str(moved))
    assert model.translate(source) == expected


def test_hypotheses(translator, source):
    (hypotheses,) = translator.hypotheses(source[:1], nbest=3, attention=True)
    assert len({translation.text for translation in hypotheses}) == 3
    for translation in hypotheses:
        words = len(translation.words)
        assert len(set(translation.alignment)) == words
        total = sum(translation.positional_scores)
        # The score is a mean over subwords, and there are at least as many subwords as words.
        assert abs(translation.score) <= abs(total) / (words + 1) + 1e-6
    # Attention does not change the search.
    (again,) = translator.hypotheses(source[:1])
    assert again[0].text == hypotheses[0].text


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_generation_dtype(moved, translator, source, dtype, caplog):
    if not can_pack(getattr(torch, dtype)):
        load_translator(str(moved), dtype=dtype)(source[0])
        assert f"--generation-dtype {dtype} has no effect" in caplog.text
        return
    rounded = load_translator(str(moved), dtype=dtype)
    score = rounded.hypotheses(source[:1])[0][0].score
    assert 0 < abs(score - translator.hypotheses(source[:1])[0][0].score) < 0.1
    assert sum(map(str.__eq__, rounded(source), translator(source))) > 0.8 * LINES


def test_empty_and_unusual_lines(translator, source, expected):
    odd = ["", source[0], " \t\r\n", f"  {source[1]}\r", "\u2581", "\U0001f600 \u0000 zz"]
    found = translator(odd)
    assert found[:4] == ["", expected[0], "", expected[1]]
    assert len(found) == len(odd)


def test_command(run, moved, source, expected, tmp_path):
    text = "\n".join([*source[:3], "", source[3]])
    assert run(moved, text=text).splitlines() == [*expected[:3], "", expected[3]]
    # From several files, a few lines at a time, to a file.
    for name, lines in (("first", source[:3]), ("second", source[3:5])):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    arguments = [tmp_path / "first", tmp_path / "second", "--buffer-size", 2]
    assert run(moved, *arguments, "--output", tmp_path / "out") == ""
    assert (tmp_path / "out").read_text().splitlines() == expected[:5]
    output = run(moved, "--nbest", 2, "--scores", "--alignment", text=text)
    rows = [line.split("\t") for line in output.splitlines()]
    assert [row[0] for row in rows] == list("001122344")
    assert [row[2] for row in rows[::2]][:3] == expected[:3]
    assert float(rows[0][1]) > float(rows[1][1])
    assert all("-" in pair for pair in rows[0][3].split())
    assert len(run(moved, "--generation-dtype", "int8", text=text).splitlines()) == 5


def test_plots(command, moved, quickstart, source, expected, tmp_path):
    arguments = [moved, source[0], "--output"]
    attention = tmp_path / "attention.png"
    assert expected[0] in command("fairseq-lrn", "plot", "attention", *arguments, attention)
    assert attention.read_bytes().startswith(b"\x89PNG")
    memory = tmp_path / "memory.svg"
    command("fairseq-lrn", "plot", "memory", "--backward", *arguments, memory)
    assert "<svg" in memory.read_text()
    curves = tmp_path / "curves.pdf"
    command("fairseq-lrn", "plot", "curves", quickstart[0], "--output", curves)
    assert curves.read_bytes().startswith(b"%PDF")
