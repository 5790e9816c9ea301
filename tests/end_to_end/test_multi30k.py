"""scripts/multi30k.sh, ablations.sh and tatoeba.sh on real text, with very short training runs."""

import gzip
import os
import re

import pytest
from fairseq import options

from fairseq_lrn.ops.cpu import has_bfloat16

FEW = ["--updates", "6"]
SHORT = ["--max-tokens", "1024"]  # 6 updates are more than one epoch


@pytest.fixture
def raw(multi30k, tmp_path):
    directory = tmp_path / "raw"
    directory.mkdir()
    for lang in ("en", "de"):
        for split, size in (("train", 200), ("val", 16), ("test_2016_flickr", 8)):
            lines = (multi30k / f"{split}.{lang}").read_text().splitlines(keepends=True)
            (directory / f"{split}.{lang}").write_text("".join(lines[:size]))
    return directory


def test_whole_recipe(command, raw, tmp_path):
    directory = tmp_path / "out"
    run = ["bash", "scripts/multi30k.sh", raw, "--dir", directory]
    output = command(*run, *FEW, "--", *SHORT)
    assert re.search(r"cleaning: \d+ of 200 pairs kept", output)
    # Training ended in its second epoch.
    assert "the mean is " in output
    assert re.search(r"averaging \S+/lrn-1/checkpoints/checkpoint_last.pt", output)
    assert re.search(r"BLEU\|nrefs:1\|case:lc\|.* = [\d.]+", output)
    assert (
        (directory / "lrn-1" / "validation.md").read_text().splitlines()[-1].startswith("| 2 | 6 |")
    )
    log = (directory / "lrn-1" / "train.log").read_text()
    assert "rdrop_kl_loss" in log and "'rdrop_from_update': 3" in log
    assert re.search(r"^test bleu [\d.]+$", output, re.MULTILINE)
    # A run belongs to its options, data and number of updates.
    for others in (["--updates", "7", "--", *SHORT], [*FEW, "--", *SHORT, "--dropout", "0.25"]):
        output = command(*run, *others, ok=False)
        assert f"reusing {directory / 'data-bin'}" in output
        assert f"{directory}/lrn-1 was trained with other options or data" in output
        assert re.search(r"^  now:    --(max-update 7|dropout 0.25)$", output, re.M)
        assert "--source-lang" not in output  # an option that is the same
    assert (directory / "lrn-1" / "train.log").read_text() == log
    # A run that was finished on a processor with bfloat16 can be used on another, and vice versa.
    record = directory / "lrn-1" / "checkpoints" / "trained-with"
    options, bfloat16 = record.read_text(), " --autocast bfloat16"
    is_in = bfloat16 in options
    other = options.replace(bfloat16, "") if is_in else options.replace(" ", f"{bfloat16} ", 1)
    record.write_text(other)
    assert "lrn, seed 1: trained already" in command(*run, *FEW, "--", *SHORT)
    # A model to compare with, on the same data.
    options = ["--model", "lstm", "--seed", "7", "--recipe", "published", *FEW]
    output = command(*run, *options, "--", *SHORT)
    assert "lstm, seed 7: generate test (beam 5)" in output
    assert "'rdrop_alpha': 0.0" in (directory / "lstm-published-7" / "train.log").read_text()
    # Changes of the recipe: two ablations, and changes of options.
    for change in ("rms-norm+closed-forget-gates", "tanh+layers-2+source-table"):
        ablate = ["bash", "scripts/ablations.sh", change, raw, "--dir", directory]
        output = command(*ablate, "--seed", "3", *FEW, "--", *SHORT, "--dropout", "0.25")
        assert f"reusing {directory / 'data-bin'}" in output
        assert f"{change}, seed 3: generate valid" in output and "generate test" not in output
        assert re.search(r"^valid bleu [\d.]+$", output, re.MULTILINE)
    log = (directory / "rms-norm+closed-forget-gates-3" / "train.log").read_text()
    assert "RMSNorm" in log and "rdrop_kl_loss" not in log and "'dropout': 0.25" in log
    assert "'activation_fn': identity" in log
    log = (directory / "tanh+layers-2+source-table-3" / "train.log").read_text()
    assert "'share_all_embeddings': False" in log and "'encoder_layers': 2" in log
    assert "'layernorm_projection': True" in log and "RMSNorm" not in log
    assert "'activation_fn': tanh" in log
    table = command("python", "scripts/results_table.py", *directory.iterdir())
    rows = {line.split(" | ")[0]: line for line in table.splitlines() if "-" in line}
    name = "| lstm-published-7"
    assert re.fullmatch(rf"\{name} \| [\d.]+ \| \d+( \| [\d.]+){{5}} \|", rows[name])
    means = command("python", "scripts/results_table.py", "--seeds", *directory.iterdir())
    assert re.search(r"\| lrn \| [\d.]+ \| 6 \| 1( \| [\d.]+){5} \|", means)
    assert "| lrn-1" in rows and "| rms-norm+closed-forget-gates-3" in rows

    other = tmp_path / "other"
    other.mkdir()
    for path in raw.iterdir():
        (other / path.name).write_text(path.read_text())
    # The same text in another place is the same text; another text in the same place is not.
    moved = ["bash", "scripts/multi30k.sh", other, "--dir", directory, *FEW, "--", *SHORT]
    assert "trained already" in command(*moved)
    reference = (other / "val.de").read_text()
    (other / "val.de").write_text(reference.replace("e", "a", 1))
    output = command(*moved, ok=False)
    assert "data-bin was prepared from other files or with other options. Remove it, or" in output
    assert re.search(r"^  before: val.de \d+ \d+\n  now:    val.de \d+ \d+$", output, re.M)
    output = command(*run, *FEW, "--tokenizer", "none", ok=False)
    assert "  before: --tokenizer moses\n  now:    --tokenizer none\n" in output
    output = command(run[0], run[1], "--dir", directory, ok=False)
    assert "data-bin was prepared from raw text elsewhere: give RAW_DIR" in output
    (directory / "data-bin.origin").unlink()
    output = command(*run, *FEW, ok=False)
    assert "there is no record of what" in output and "data-bin was prepared from: remove" in output


def test_choosing_a_recipe(command, raw, tmp_path):
    trials = tmp_path / "out" / "trials" / "published-2"
    failed = trials / "transformer-0.002-1"
    (failed / "train.log").mkdir(parents=True)  # the log cannot be written
    choose = ["bash", "scripts/choose_recipe.sh", raw, "--dir", tmp_path / "out", "--updates", "2"]
    small = ["--encoder-layers", "1", "--decoder-layers", "1", *SHORT]
    output = command(*choose, "--model", "transformer", "--recipe", "published", "--", *small)
    assert "the trial transformer-0.002-1 failed" in output
    rows = [line for line in output.splitlines() if re.match(r"\| transformer-(pre-norm-)?0", line)]
    losses = {line.split(" | ")[0][2:]: float(line.split(" | ")[3]) for line in rows}
    assert len(losses) == 5
    assert re.findall(r"^transformer\S+-1$", output, re.M) == [min(losses, key=losses.get)]
    log = (trials / "transformer-pre-norm-0.01-1" / "train.log").read_text()
    assert "'lr': [0.01]" in log and re.search(r"encoder_normalize_before(=|': )True", log)
    assert "'rdrop_alpha': 0.0" in log
    # Other options do not mix with trials that are there.
    output = command(*choose, "--model", "transformer", "--recipe", "published", ok=False)
    assert "transformer-0.002-1 was trained with other options" in output


def test_second_corpus(command, root, raw, tmp_path):
    for lang in ("en", "de"):
        (raw / f"val.{lang}").rename(raw / f"valid.{lang}")
    run = ["bash", "scripts/tatoeba.sh", raw, "--dir", os.path.relpath(tmp_path / "out", root)]
    output = command(*run, "--model", "transformer_lrn", *FEW, "--", *SHORT)
    # Checkpoints name the data by an absolute path: they are used in other directories, too.
    log = (tmp_path / "out" / "transformer_lrn-1" / "train.log").read_text()
    assert f"'data': '{tmp_path}/out/data-bin'" in log
    assert "transformer_lrn, seed 1: generate valid (beam 5)" in output
    assert re.search(r"BLEU\|nrefs:1\|case:lc\|.* = [\d.]+", output)


# For each model: weight of R-Drop, and whether matrix products may use bfloat16.
RECIPES = {
    "lrn": (3.0, True),
    "transformer_lrn": (3.0, True),
    "transformer": (3.0, False),
    "lstm": (3.0, True),
    "lstm_256": (3.0, True),
    "lrn_512": (0.0, True),
    "transformer_512": (0.0, True),
    "lstm_512": (0.0, True),
}


@pytest.mark.parametrize(
    "recipe, has_gpu", [("equal", False), ("equal", True), ("published", False)]
)
def test_options_of_every_model(command, tmp_path, recipe, has_gpu):
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text(f"#!/bin/sh\nexit {0 if has_gpu else 9}\n")
    stand_in.chmod(0o755)
    printed = command(
        *("bash", "-c"),
        "PATH=$0:$PATH; source scripts/env.sh; source scripts/recipes.sh; "
        "for model in $MODELS; do "
        "set_model_options $model 100 $1; echo $model $model_options; done",
        *(tmp_path, recipe),
    )
    lines = dict(line.split(" ", 1) for line in printed.strip().splitlines())
    assert lines.keys() == RECIPES.keys()
    for model, (rdrop, bfloat16) in RECIPES.items():
        args = options.parse_args_and_arch(
            options.get_training_parser(), ["data", *lines[model].split()]
        )
        is_plain = recipe == "published" and not model.endswith("_512")
        scheduler = "inverse_sqrt" if is_plain else "inverse_sqrt_cooldown"
        rdrop = 0.0 if is_plain else rdrop
        assert (args.lr_scheduler, args.rdrop_alpha) == (scheduler, rdrop), model
        expected = bfloat16 and has_bfloat16() and not has_gpu
        assert (str(args.autocast) == "bfloat16") == expected, model
        assert args.rdrop_from_update == (50 if rdrop else 0), model
        assert getattr(args, "cooldown_updates", 20) == 20, model
        # With a post-norm encoder, fairseq's default, transformer_lrn learns far more slowly.
        is_pre_norm = getattr(args, "encoder_normalize_before", False)
        assert is_pre_norm == (model == "transformer_lrn"), model


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("multi30k", ["--model", "gru"], "error: --model must be one of lrn transformer_lrn"),
        ("multi30k", ["--model", "lrn lstm"], "--model must be one of lrn transformer_lrn"),
        ("multi30k", ["--seed --updates", "1"], "error: unknown option --seed --updates"),
        ("multi30k", ["--sed", "1"], "error: unknown option --sed"),
        ("multi30k", ["--recipe", "x"], "error: --recipe must be equal or published, not x"),
        ("multi30k", ["--updates", "x"], "error: --updates must be a number above 0, not x"),
        ("multi30k", ["--seed", "x"], "error: --seed must be a number, not x"),
        ("multi30k", ["--dir", "--model"], "error: --dir needs a value: see bash scripts/multi30k"),
        ("multi30k", ["--seed"], "error: --seed needs a value"),
        ("multi30k", ["a", "b"], "error: give one RAW_DIR, not a and b"),
        ("multi30k", ["--", "--save-dir", "x"], "--save-dir has no effect after --: give --dir"),
        ("multi30k", ["--", "--seed=2"], "--seed is part of the run's name: give it before --"),
        ("multi30k", ["--", "--max-update", "2"], "the schedule: give --updates N before --"),
        (
            *("multi30k", ["--model", "lrn_512", "--recipe", "published"]),
            "error: --recipe has no effect on lrn_512: leave it out",
        ),
        ("choose_recipe", ["--", "--lr", "1"], "error: --lr is what is chosen here: leave it out"),
        (
            *("choose_recipe", ["--", "--clip-norm", "1", "--encoder-normalize-before"]),
            "error: --encoder-normalize-before is what is chosen here",
        ),
        ("ablations", ["none", "--recipe", "published"], "error: unknown option --recipe"),
        ("ablations", [], "error: give a CHANGE: one of none tanh"),
        ("ablations", ["tanh+x"], "or several joined by +, not x"),
        ("ablations", ["layers-2+tanh+layers-6"], "CHANGE has layers-2 and layers-6: give one"),
        ("ablations", ["source-table+plain-projection"], "CHANGE has source-table and plain"),
        ("quickstart", ["a"], "error: unknown argument a: the quick start makes its own text"),
        ("compare_cells", ["--cells", "gru x"], "error: --cells must be one of lrn olrn"),
        ("compare_cells", ["a", "b"], "error: give one RAW_DIR, not a and b"),
        ("compare_cells", ["--epochs", "0"], "error: --epochs must be a number above 0, not 0"),
        ("compare_cells", ["--", "--max-epoch", "2"], "give --epochs N before --"),
        ("wmt14_en_de", ["a", "b"], "error: give one RAW_DIR, not a and b"),
        ("ablations", ["none", "--updates", "x"], "error: --updates must be a number above 0"),
        ("tatoeba", [], "error: give a directory with train.de"),
        ("tatoeba", ["docs"], "error: docs/train.de is missing or empty"),
    ],
)
def test_bad_input(command, script, arguments, message):
    assert message in command("bash", f"scripts/{script}.sh", *arguments, ok=False)


@pytest.mark.parametrize(
    "script", ["multi30k", "imdb", "compare_cells", "quickstart", "wmt14_en_de", "test"]
)
def test_help(command, script):
    output = command("bash", f"scripts/{script}.sh", "--help")
    assert f"\n  bash scripts/{script}.sh " in output
    assert "\n--dir DIR " in output or script == "test"
    assert "set -euo" not in output


@pytest.mark.parametrize("script", ["multi30k", "wmt14_en_de"])
def test_no_network(command, tmp_path, monkeypatch, script):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    output = command("bash", f"scripts/{script}.sh", "--dir", tmp_path, ok=False)
    assert "Traceback" not in output
    assert re.search(r"error: cannot download http\S+en.* \(.*refused.*\): give a dir", output)


def test_download(command, tmp_path):
    """A whole file is kept; a damaged one leaves nothing that could be taken for it."""
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"text\n"))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"text\n")[:-9])
    script = 'source scripts/env.sh; directory=$0/out; download_raw "file://$0" .gz a.txt b.txt'
    output = command("bash", "-c", script, tmp_path, ok=False)
    assert re.search(r"error: cannot download file:.*b.txt.gz \(.+\): give a directory", output)
    assert (tmp_path / "out" / "raw" / "a.txt").read_text() == "text\n"
    assert not (tmp_path / "out" / "raw" / "b.txt").exists()
