"""fairseq-lrn score TRANSLATIONS REFERENCE: BLEU and chrF."""

import os
import re
import subprocess
import sys

import pytest

from fairseq_lrn.commands import reference_scores
from fairseq_lrn.commands.main import main

GENERATED = """\
S-1\tthe dog .
T-1\tder Hund .
H-1\t-0.5\tder Hund .
S-0\tit is , he believes .
T-0\tes ist , glaubt er .
H-0\t-0.25\tEs ist , glaubt sie .
Generate test with beam=5: BLEU4 = 41.50, 70.0/50.0/30.0/20.0 (BP=1.000, ratio=1.000)
"""


@pytest.fixture
def files(tmp_path):
    """Output of fairseq-generate, and a raw reference."""
    generated, reference = tmp_path / "generated", tmp_path / "test.de"
    generated.write_text(GENERATED)
    reference.write_text("es ist, glaubt er.\nder Hund.\n")
    return generated, reference


def sacrebleu(reference, hypotheses, *options):
    """What the command of sacreBLEU prints."""
    command = [sys.executable, "-m", "sacrebleu", reference, "-i", hypotheses, *options]
    command += ["-w", "2", "--format", "text"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "arguments, bleu_options, chrf_options",
    [
        ([], [], []),
        (["de"], [], []),
        (["de", "-lc"], ["-lc"], ["--chrf-lowercase"]),
        (["-lc", "--tokenize", "char"], ["-lc", "--tokenize", "char"], ["--chrf-lowercase"]),
        (["--lowercase", "-tok", "intl"], ["-lc", "-tok", "intl"], ["--chrf-lowercase"]),
    ],
)
def test_scores(run, files, arguments, bleu_options, chrf_options):
    """Tokenised BLEU, sacreBLEU and chrF of the detokenised translations."""
    generated, reference = files
    printed = run("score", *files, *arguments)
    detokenized = generated.with_name("generated.detok")
    assert detokenized.read_text() == "Es ist, glaubt sie.\nder Hund.\n"
    expected = GENERATED.splitlines(keepends=True)[-1]
    expected += sacrebleu(reference, detokenized, "-m", "bleu", *bleu_options)
    expected += sacrebleu(reference, detokenized, "-m", "chrf", *chrf_options)
    assert printed == expected


def test_language_of_the_translations(run, files):
    """French puts a space before an exclamation mark, English does not."""
    generated, _ = files
    generated.write_text("H-0\t-1.0\tl' eau !\n")
    reference = generated.with_name("reference")
    reference.write_text("l'eau\n")
    run("score", generated, reference, "fr")
    assert generated.with_name("generated.detok").read_text() == "l'eau !\n"


def test_data_that_are_not_tokenised(run, files):
    """The references in the output are as in the raw file, so nothing is detokenised."""
    generated, reference = files
    reference.write_text("es ist , glaubt er.\nder Hund.\n")
    generated.write_text(
        "T-0\tes ist , glaubt er.\nH-0\t-0.2\tes war , sagt er.\n"
        "T-1\tder Hund.\nH-1\t-0.2\tein Hund.\n"
    )
    run("score", *files)
    assert generated.with_name("generated.detok").read_text() == "es war , sagt er.\nein Hund.\n"


@pytest.mark.parametrize(
    "language, text, tokenizer",
    [
        ("zh-CN", ["昨天老师买了一本红书。", "学生读了报纸。"], "zh"),
        ("th", ["เมื่อวานครูซื้อหนังสือ", "นักเรียนอ่านหนังสือ"], "char"),
        ("de", ["Gestern las sie es.", "Heute nicht mehr als das."], "13a"),
    ],
)
def test_plain_translations(run, tmp_path, language, text, tokenizer):
    """One per line, as fairseq-lrn translate writes them. One wrong character costs little."""
    reference, translations = tmp_path / f"test.{language}", tmp_path / "translations"
    reference.write_text("\n".join(text) + "\n")
    translations.write_text("\n".join([text[0], f"{text[1][:-2]}X{text[1][-1]}"]) + "\n")
    bleu, chrf = run("score", translations, reference).splitlines()
    assert f"|tok:{tokenizer}|" in bleu
    assert float(re.search(r" = ([\d.]+)", bleu).group(1)) > 60
    assert chrf.startswith("chrF2|")
    assert not translations.with_name("translations.detok").exists()


@pytest.mark.parametrize("marked", [["translations"], ["test.de"], ["translations", "test.de"]])
def test_byte_order_mark(run, refuse, tmp_path, marked):
    """sacreBLEU would count it as a part of the first word."""
    text = "Gestern las sie es.\nHeute nicht mehr als das.\n"
    for name in ("translations", "test.de"):
        (tmp_path / name).write_text(text, "utf-8-sig" if name in marked else "utf-8")
    files = [tmp_path / "translations", tmp_path / "test.de"]
    bleu, chrf = run("score", *files).splitlines()
    assert " = 100.00 " in bleu and chrf.endswith(" = 100.00")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.de", "translations"]
    files[0].write_text("0\tGestern.\n1\tHeute.\n", "utf-8-sig")
    assert "has columns: translate without --nbest" in refuse("score", *files)


def test_files_that_look_like_options(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-translations", "-test.de"):
        (tmp_path / name).write_text("Gestern las sie es.\n")
    assert " = 100.00 " in run("score", "--", "-translations", "-test.de")


def test_byte_order_mark_before_generated_output(run, files):
    files[0].write_text("H-0\t-0.2\tes ist, glaubt er.\n", "utf-8-sig")
    files[1].write_text("es ist, glaubt er.\n")
    assert " = 100.00 " in run("score", *files)


def test_choice_of_the_tokenizer(caplog):
    with caplog.at_level("INFO"):
        assert reference_scores.tokenizer("zh_TW", ["-lc"]) == ["-tok", "zh"]
    assert "BLEU: sacreBLEU's tokeniser zh, for the language 'zh_TW'" in caplog.text
    for given in (["-lc", "-tok", "char"], ["--tokenize", "none"], ["--tok=intl"]):
        assert reference_scores.tokenizer("zh", given) == []


@pytest.mark.parametrize(
    "content, message",
    [
        ("Hallo.\n", "has 1 lines, but .* has 2: give complete output of fairseq-generate, or one"),
        ("", "is empty"),
        ("0\t-0.5\tHallo.\n1\t-0.2\tWelt.\n", "has columns: translate without --nbest"),
        (GENERATED.splitlines()[-1], "lacks hypotheses .* without --quiet"),
    ],
)
def test_refused_translations(refuse, files, content, message):
    files[0].write_text(content)
    assert re.search(message, refuse("score", *files))


def test_refused_input(refuse, files, tmp_path):
    generated, reference = files
    assert "cannot read absent" in refuse("score", "absent", reference)
    pipe = tmp_path / "pipe.de"
    os.mkfifo(pipe)
    for arguments in ((pipe, reference), (generated, pipe)):
        assert f"{pipe} is a pipe, and it is read several times" in refuse("score", *arguments)
    reference.write_text("es ist, glaubt er.\n")
    message = refuse("score", generated, reference)
    assert "has 2 translations, but" in message and "has 1 lines: give the reference" in message
    assert not generated.with_name("generated.detok").exists()


def test_output_of_sacrebleu_passes_through_this_process(files, monkeypatch, capfd):
    """Otherwise it would print a traceback of its own where the output cannot be written."""
    files[0].write_text(GENERATED.rpartition("Generate")[0])  # nothing else is printed
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as error:
            main(["score", *map(str, files)])
    printed, message = capfd.readouterr()
    assert error.value.code == 2 and printed == ""
    assert "No space left on device" in message and "Traceback" not in message


def test_options_that_sacrebleu_refuses(refuse, files):
    message = refuse("score", *files, "de", "--frobnicate")
    assert "unrecognized arguments: --frobnicate" in message  # its own message
    assert "error: sacreBLEU failed" in message
