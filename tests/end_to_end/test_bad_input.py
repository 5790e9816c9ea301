"""Bad input to commands: a clear message, a non-zero exit status, and no file is overwritten."""

import shutil

import pytest
import torch

ADAM = ["--optimizer", "adam", "--lr", "0.001", "--max-tokens", "4096", "--max-update", "1"]


@pytest.fixture
def raw(tmp_path):
    for split in ("train", "val", "test_2016_flickr"):
        for lang in ("en", "de"):
            (tmp_path / f"{split}.{lang}").write_text("a b c\n" * 20)
    return tmp_path


def prepare(command, raw, *arguments):
    return command(
        "fairseq-lrn", "prepare", "-s", "en", "-t", "de", "--trainpref", raw / "train",
        "--destdir", raw / "data", *arguments, ok=False,
    )  # fmt: skip


def test_files_of_different_length(command, raw):
    (raw / "train.de").write_text("a\n")
    assert "has 20 lines, but" in prepare(command, raw)
    assert not (raw / "data").exists()


def test_empty_file(command, raw):
    (raw / "train.de").write_text("")
    assert "train.de is empty" in prepare(command, raw)
    assert not (raw / "data").exists()


def test_missing_vocabulary(command, raw, quickstart, tmp_path):
    assert "sentencepiece.bpe.model is missing" in prepare(command, raw, "--vocab-from", raw)
    broken = tmp_path / "quickstart"
    (broken / "raw").mkdir(parents=True)
    (broken / "data-bin").mkdir()
    output = command("bash", "scripts/quickstart.sh", "--dir", broken, ok=False)
    assert "data-bin lacks dict.en.txt: remove" in output


def test_missing_raw_files(command, raw):
    (raw / "val.en").unlink()
    output = command("bash", "scripts/multi30k.sh", raw, "--dir", raw / "out", ok=False)
    assert "val.en is missing or empty" in output


def test_unknown_option(command, raw):
    assert "--updates must be a number above 0, not few" in command(
        "bash", "scripts/quickstart.sh", "--updates", "few", ok=False
    )
    assert "unknown option --frobnicate" in command(
        "bash", "scripts/quickstart.sh", "--frobnicate", ok=False
    )


def test_sentence_longer_than_max_positions(fairseq, quickstart, tmp_path):
    checkpoint = quickstart[0] / "checkpoints" / "checkpoint_best.pt"
    output = fairseq(
        "interactive", quickstart[0] / "data-bin", "--path", checkpoint,
        "--source-lang", "en", "--target-lang", "de", input="a " * 1200 + "\n", ok=False,
    )  # fmt: skip
    assert "is invalid" in output and "max_positions=(1024, 1024)" in output


@pytest.mark.parametrize(
    "options, message",
    [
        (["--arch", "lrn_huge"], "invalid choice: 'lrn_huge'"),
        (
            ["--arch", "lrn_tiny", "--decoder-attention-heads", "3"],
            "--decoder-embed-dim (128) must be divisible by --decoder-attention-heads (3)",
        ),
        (["--arch", "lrn_tiny", "--activation-fn", "relu"], "invalid"),
    ],
)
def test_bad_options_of_training(fairseq, quickstart, tmp_path, options, message):
    output = fairseq(
        "train", quickstart[0] / "data-bin", *ADAM, *options, "--save-dir", tmp_path / "c", ok=False
    )
    assert message in output


def test_embeddings_of_the_wrong_size(fairseq, quickstart, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("1 3\n▁man 1 2 3\n")
    output = fairseq(
        "train", quickstart[0] / "data-bin", *ADAM, "--arch", "lrn_tiny",
        "--encoder-embed-path", vectors, "--save-dir", tmp_path / "c", ok=False,
    )  # fmt: skip
    assert "has vectors of size 3, but --encoder-embed-dim is 128" in output


def test_corrupt_checkpoint(command, quickstart, tmp_path):
    good = quickstart[0] / "checkpoints" / "checkpoint_best.pt"
    corrupt, output_path = tmp_path / "checkpoint1.pt", tmp_path / "averaged.pt"
    corrupt.write_bytes(good.read_bytes()[:5000])
    output_path.write_bytes(b"precious")
    output = command(
        "fairseq-lrn", "average", "--inputs", good, corrupt,
        "--output", output_path, ok=False,
    )  # fmt: skip
    assert f"checkpoint {corrupt} is damaged" in output
    assert output_path.read_bytes() == b"precious"


def test_corrupt_checkpoint_in_the_quick_start(command, quickstart, tmp_path):
    """The message names the file, and earlier translations are kept."""
    for name in ("raw", "data-bin", "checkpoints"):
        shutil.copytree(quickstart[0] / name, tmp_path / name)
    (tmp_path / "generate-test.txt").write_text("precious")
    checkpoints = tmp_path / "checkpoints"
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        checkpoint = checkpoints / name
        if name == "checkpoint_last.pt":  # as if the training run had been interrupted
            (checkpoints / "trained-with").rename(checkpoints / "begun-with")
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
        output = command("bash", "scripts/quickstart.sh", "--dir", tmp_path, ok=False)
        assert f"error: checkpoint {checkpoint} is damaged" in output
        assert "Traceback" not in output
    assert (tmp_path / "generate-test.txt").read_text() == "precious"


def test_checkpoint_with_code_is_refused_by_fairseq(fairseq, quickstart, tmp_path):
    good = quickstart[0] / "checkpoints" / "checkpoint_best.pt"
    state = torch.load(good, weights_only=True)
    state["extra"] = pytest.importorskip("fractions").Fraction(1, 2)
    torch.save(state, tmp_path / "foreign.pt")
    output = fairseq(
        "generate", quickstart[0] / "data-bin", "--path", tmp_path / "foreign.pt", ok=False
    )
    assert "fractions.Fraction" in output
