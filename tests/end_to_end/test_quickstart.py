"""The model of the quick start learns to translate; ablated models do not."""

import re
import shutil
from dataclasses import replace

import pytest

from fairseq_lrn.analysis.training_log import validations
from fairseq_lrn.data.parallel import read_lines

EPOCHS, UPDATES = 2, 176


def test_translates_held_out_sentences(quickstart, bleu_of):
    directory, output = quickstart
    train = set(read_lines(str(directory / "raw" / "train.en")))
    held_out = read_lines(str(directory / "raw" / "test.en"))
    assert len(train) == 20000 and not train & set(held_out)
    assert bleu_of(output) >= 95
    assert "chrF2|nrefs:1" in output
    for part in ("source", "reference", "translation"):
        assert len(re.findall(f"^{part}: ", output, re.MULTILINE)) == 10
    # The log of the training run shows BLEU and translations.
    assert validations(str(directory / "train.log"))[-1]["bleu"] > 90
    assert output.count("example 3, translation: ") == output.count("valid on 'valid' subset")
    # Every sentence has a translation.
    assert len(read_lines(str(directory / "generate-test.txt.detok"))) == len(held_out)


def test_runs_again(quickstart, command, bleu_of):
    directory, first = quickstart
    checkpoint = (directory / "checkpoints" / "checkpoint_best.pt").stat().st_mtime
    output = command("bash", "scripts/quickstart.sh", "--dir", directory)
    assert output.count("  reusing ") == 2
    assert (directory / "checkpoints" / "checkpoint_best.pt").stat().st_mtime == checkpoint
    assert bleu_of(output) == bleu_of(first)


@pytest.mark.parametrize("part", ["recurrence", "attention"])
def test_needs_recurrence_and_attention(quickstart, root, command, bleu_of, tmp_path, part):
    """The same training run without one part of the model scores far below the intact model.

    Few updates are enough: the intact model has more than 50 BLEU by then.
    """
    for name in ("raw", "data-bin"):
        shutil.copytree(quickstart[0] / name, tmp_path / name)
    user_directory = root / "scripts" / "ablations"
    ablated = replace(command, environment={"FAIRSEQ_LRN_USER_DIR": str(user_directory)})
    arguments = ["--dir", tmp_path, "--updates", UPDATES, "--", "--ablation", f"no-{part}"]
    output = ablated("bash", "scripts/quickstart.sh", *arguments)
    assert "reusing" in output
    score = bleu_of(output)
    print(f"BLEU without {part}: {score}")
    assert score <= 20
    rows = [validations(str(run / "train.log")) for run in (quickstart[0], tmp_path)]
    intact, broken = (row[EPOCHS - 1] for row in rows)
    print(f"validation after {EPOCHS} epochs: {broken}, intact {intact}")
    assert broken["nll_loss"] > 2.5 * intact["nll_loss"] and broken["bleu"] <= 20
    assert intact["bleu"] > 50
