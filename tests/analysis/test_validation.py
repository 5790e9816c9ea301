"""Validating a checkpoint: the value that fairseq-validate prints."""

import re
import subprocess

import pytest

from fairseq_lrn import checkpoints
from fairseq_lrn.analysis.validation import validate
from fairseq_lrn.errors import InputError


@pytest.fixture
def path(untrained):
    return str(untrained / "checkpoint_best.pt")


def test_value_of_fairseq_validate(path, prepared_data, root):
    score = validate(path)
    assert (score.metric, score.maximize) == ("loss", False)
    command = ["fairseq-validate", str(prepared_data), "--path", path, "--max-tokens", "4000"]
    command += ["--task", "translation", "--user-dir", str(root / "fairseq_lrn")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    loss = re.search(r"\| loss ([0-9.]+)", result.stdout + result.stderr).group(1)
    assert score.value == pytest.approx(float(loss), abs=1e-3)


def test_another_metric(path, prepared_data, tmp_path):
    state = checkpoints.load(path)
    state["cfg"]["checkpoint"]["best_checkpoint_metric"] = "ppl"
    ppl, absent = (str(tmp_path / f"{name}.pt") for name in ("ppl", "absent"))
    checkpoints.save(state, ppl)
    assert validate(ppl, str(prepared_data)).value > 1
    state["cfg"]["checkpoint"]["best_checkpoint_metric"] = "f1"
    checkpoints.save(state, absent)
    with pytest.raises(InputError, match="validation has no metric f1 .* only .*loss"):
        validate(absent, str(prepared_data))


def test_data_that_were_moved(path, tmp_path):
    absent = str(tmp_path / "absent")
    with pytest.raises(InputError, match=f"needs its data, and {absent} is not .*give --data DIR"):
        validate(path, absent)
    with pytest.raises(
        InputError, match="cannot be validated with the data .*Could not infer language"
    ):
        validate(path, str(tmp_path))
