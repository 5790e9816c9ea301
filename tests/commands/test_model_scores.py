"""fairseq-lrn score --model: log-probabilities."""

import io
import os
import sys
import threading

import pytest

from fairseq_lrn.commands import model_scores
from fairseq_lrn.commands.main import main
from fairseq_lrn.generation.language_model import load_language_model
from fairseq_lrn.generation.translator import load_translator


def test_pairs(run, untrained, tmp_path, monkeypatch):
    """With a model, the scores of given translations, block by block."""
    monkeypatch.setattr(model_scores, "BLOCK", 2)
    sources, targets = ["two dogs", "", "a man sleeps"], ["zwei Hunde", "der Hund", ""]
    for name, lines in (("source", sources), ("target", targets)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    printed = run("score", "--model", untrained, tmp_path / "source", tmp_path / "target")
    expected = load_translator(untrained).score(sources, targets)
    assert printed.split() == [f"{translation.score:.4f}" for translation in expected]


def test_pairs_that_are_too_long(run, untrained, tmp_path, monkeypatch):
    """They have no score, and do not count in the mean."""
    logged = []
    monkeypatch.setattr(
        model_scores.logger, "info", lambda text, *values: logged.append(text % values)
    )
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
