"""``fairseq-lrn convert``, from the authors' files to translations."""

import json

import numpy as np

from parity import DATA, load, starting_with

CASE = DATA / "deepnmt" / "lrn_cae1_deep0_ln1_2x2_nofeat.npz"


def words(size, prefix):
    return [f"{prefix}{index}" for index in range(size - 3)]


def test_command(command, fairseq, tmp_path):
    """From the toolkit's files to translations by fairseq-generate."""
    parameters, arrays = load(CASE)
    variables = {k: v.numpy() for k, v in starting_with(arrays, "w/").items()}
    np.savez(tmp_path / "model.npz", **variables)
    (tmp_path / "param.json").write_text(json.dumps(parameters))
    for lang, size in (("en", 23), ("de", 27)):
        text = "\n".join(["<pad>", "<unk>", "<eos>", *words(size, lang)])
        (tmp_path / f"vocab.{lang}").write_text(text + "\n")
        lines = [" ".join(words(size, lang)[start : start + 4]) for start in range(10)]
        (tmp_path / f"test.{lang}").write_text("\n".join(lines) + "\n")
    files = [f"--{name}={tmp_path / file}" for name, file in (
        ("variables", "model.npz"), ("parameters", "param.json"),
        ("source-vocab", "vocab.en"), ("target-vocab", "vocab.de"),
    )]  # fmt: skip
    out = tmp_path / "out"
    command("fairseq-lrn", "convert", "-s", "en", "-t", "de", *files, "--destdir", out)
    command(
        "fairseq-preprocess", "-s", "en", "-t", "de", "--testpref", tmp_path / "test",
        "--srcdict", out / "dict.en.txt", "--tgtdict", out / "dict.de.txt",
        "--destdir", tmp_path / "data",
    )  # fmt: skip
    output = fairseq(
        "generate", tmp_path / "data", "--path", out / "model.pt", "--task", "translation_lrn",
        "--length-penalty", "gnmt", "--beam", "4", "--lenpen", "0.6",
        "--required-batch-size-multiple", "1",
    )  # fmt: skip
    assert output.count("\nH-") == 10
    hypotheses = [line for line in output.splitlines() if line.startswith("H-")]
    assert "<s>" not in "".join(hypotheses)
