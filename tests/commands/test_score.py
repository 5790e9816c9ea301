"""fairseq-lrn score."""

import io
import os
import re
import subprocess
import sys
import threading

import pytest

from fairseq_lrn.commands import score
from fairseq_lrn.commands.main import main
from fairseq_lrn.generation.language_model import load_language_model
from fairseq_lrn.generation.translator import load_translator

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


def test_pairs(run, untrained, tmp_path, monkeypatch):
    """With a model, the scores of given translations, block by block."""
    monkeypatch.setattr(score, "BLOCK", 2)
    sources, targets = ["two dogs", "", "a man sleeps"], ["zwei Hunde", "der Hund", ""]
    for name, lines in (("source", sources), ("target", targets)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    printed = run("score", "--model", untrained, tmp_path / "source", tmp_path / "target")
    expected = load_translator(untrained).score(sources, targets)
    assert printed.split() == [f"{translation.score:.4f}" for translation in expected]


def test_pairs_that_are_too_long(run, untrained, tmp_path, monkeypatch):
    """They have no score, and do not count in the mean."""
    logged = []
    monkeypatch.setattr(score.logger, "info", lambda text, *values: logged.append(text % values))
    (tmp_path / "source").write_text("two dogs\ntwo dogs\n")
    (tmp_path / "target").write_text(f"zwei Hunde\n{'Hunde ' * 50}\n")
    files = ("--max-length", 40, tmp_path / "source", tmp_path / "target")
    scored, missing = run("score", "--model", untrained, *files).split()
    assert missing == "nan"
    assert logged == [f"2 pairs, 1 too long, mean {scored}"]


def test_refused_pairs(refuse, untrained, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a\n")
    two.write_text("a\nb\n")
    message = refuse("score", "--model", untrained, one, two)
    assert f"{one} has fewer lines than the other file" in message
    assert "--device has no effect without --model" in refuse("score", "--device", "cpu", one, one)
    assert "--max-length has no effect" in refuse("score", "--max-length", 5, one, one)
    for given in (
        [one, one, "--model", untrained],
        [one, one, "de", f"--model={untrained}"],
        [one, f"--model={untrained}"],
        [one, one, "--device", "cpu"],
        [one, one, "-lc", "--max-length=5"],
        [one, one, "--dynamic-lr=1"],
    ):
        option = next(word for word in map(str, given) if word.startswith("--")).split("=")[0]
        message = refuse("score", *given)
        assert (
            f"{option} follows the files: give --model and its options before the files" in message
        )
    assert "remove de, or give it before the files" in refuse(
        "score", "--model", untrained, one, one, "de"
    )
    assert "nowhere" in refuse("score", "--model", tmp_path / "nowhere", one, one)


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
        assert score.tokenizer("zh_TW", ["-lc"]) == ["-tok", "zh"]
    assert "BLEU: sacreBLEU's tokeniser zh, for the language 'zh_TW'" in caplog.text
    for given in (["-lc", "-tok", "char"], ["--tokenize", "none"], ["--tok=intl"]):
        assert score.tokenizer("zh", given) == []


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


def test_language_model(lm_checkpoints, tmp_path, capfd):
    """A score for each line; perplexities in the log."""
    model = load_language_model(lm_checkpoints, device="cpu")
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfa b c\r\n\r\nd a\r\n")  # as an editor in Windows writes it
    capfd.readouterr()
    main(["score", "--model", str(lm_checkpoints), "--device", "cpu", str(path)])
    printed, log = capfd.readouterr()
    expected = model.score(["a b c", "", "d a"])
    assert printed == "".join(f"{score:.4f}\n" for score in expected)
    one_by_one, whole = 2 ** (-sum(expected) / 8), model.perplexity(path)
    line = f"3 lines, 8 tokens, perplexity {one_by_one:.2f} of the lines one by one, {whole:.2f}"
    assert line in log


def test_dynamic_evaluation(lm_checkpoints, tmp_path, capfd):
    model = load_language_model(lm_checkpoints, device="cpu")
    path, train = tmp_path / "text.txt", tmp_path / "train.txt"
    path.write_text("a b c\n\nd a\n")
    train.write_text(200 * "a b\nc d a\n")
    command = ["score", "--model", str(lm_checkpoints), "--device", "cpu"]
    main([*command, "--dynamic-evaluation", str(train), "--dynamic-lr", "0.1", str(path)])
    expected = model.dynamic_perplexity(path, train, lr=0.1)
    assert f"{expected:.2f}" != f"{model.perplexity(path):.2f}"
    assert f"dynamic evaluation: perplexity {expected:.2f}" in capfd.readouterr().err
    with pytest.raises(SystemExit):  # before anything is scored
        main([*command, "--dynamic-evaluation", str(tmp_path / "no.txt"), str(path)])
    printed = capfd.readouterr()
    assert "cannot read" in printed.err and printed.out == ""


def test_language_model_reads_standard_input(lm_checkpoints, tmp_path, capfd, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("a b c\n\n")
    command = ["score", "--model", str(lm_checkpoints), "--device", "cpu"]
    capfd.readouterr()
    main([*command, str(path)])
    expected = capfd.readouterr()
    with open(path) as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file.buffer))
        main([*command, "-"])
    found = capfd.readouterr()
    assert found.out == expected.out and found.err.splitlines()[-1] == expected.err.splitlines()[-1]


@pytest.mark.timeout(120)  # it would wait for the output
def test_scores_of_lines_come_while_input_pauses(lm_checkpoints, monkeypatch):
    source, results = os.pipe(), os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(source[0]))
    monkeypatch.setattr(sys, "stdout", os.fdopen(results[1], "w"))  # a pipe has a buffer
    given = ["score", "--model", str(lm_checkpoints), "--device", "cpu", "-"]
    command = threading.Thread(target=main, args=(given,))
    command.start()
    model = load_language_model(lm_checkpoints, device="cpu")
    with os.fdopen(results[0]) as reader, os.fdopen(source[1], "w") as writer:
        for line in ("a b c", "", "d a"):
            print(line, file=writer, flush=True)
            assert reader.readline() == f"{model.score([line])[0]:.4f}\n"
        writer.close()
        command.join()
    sys.stdout.close()
    sys.stdin.close()


def test_unknown_words(lm_checkpoints, tmp_path, capfd):
    path = tmp_path / "text.txt"
    path.write_text("a b X\n\nd ay\n")
    main(["score", "--model", str(lm_checkpoints), "--device", "cpu", str(path)])
    log = capfd.readouterr().err
    assert "2 of 8 tokens (25.0%) are unknown words" in log
    assert "25.0% of the tokens of the text are unknown words, which are all alike" in log


def test_language_model_refused(refuse, lm_checkpoints, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    lm = "score", "--model", lm_checkpoints
    assert "is empty: give a file" in refuse(*lm, tmp_path / "empty.txt")
    assert "--max-length has no effect with a language model" in refuse(
        *lm, "--max-length", "5", tmp_path / "empty.txt"
    )
    assert "give a reference, or --model" in refuse("score", tmp_path / "empty.txt")
    message = refuse(*lm, tmp_path / "empty.txt", tmp_path / "empty.txt")
    assert message.endswith("or fairseq-lrn score --model with one file\n")
    for arguments, message in (
        (["--dynamic-lr", "1", tmp_path / "a"], "--dynamic-lr has no effect without"),
        (["--dynamic-evaluation", "a", tmp_path / "a", tmp_path / "b"], "is for language models"),
        # Before anything is scored.
        (
            ["--dynamic-evaluation", "a", "--dynamic-epsilon", "0", tmp_path / "none"],
            "epsilon must be a number above 0, not 0.0",
        ),
        # Options of this command, where sacreBLEU's would be.
        ([tmp_path / "a", "--dynamic-evaluation", "b"], "remove --dynamic-evaluation b, or give"),
        (
            [tmp_path / "a", tmp_path / "b", "--device", "cpu"],
            "remove --device cpu, or give it before",
        ),
    ):
        assert message in refuse(*lm, *arguments)
