"""Statistics of training and validation from logs."""

import pytest

from fairseq_lrn.analysis import training_log
from fairseq_lrn.errors import InputError

LINE = (
    "2026 | INFO | valid | epoch {:03d} | valid on 'valid' subset | loss {} | nll_loss 2.5 "
    "| ppl 5.66 | wps 9 | num_updates {} | best_loss 3\n"
)


def test_several_validation_subsets(tmp_path):
    """The first one chooses the best checkpoint; the others must not take its place."""
    lines = [LINE.format(epoch, loss, 100 * epoch) for epoch, loss in ((1, 4.0), (2, 3.5))]
    others = [line.replace("'valid'", "'test-2'").replace("loss ", "loss 9") for line in lines]
    (tmp_path / "log").write_text("".join(map("".join, zip(lines, others))))
    found = training_log.validations(str(tmp_path / "log"))
    assert [row["loss"] for row in found] == [4.0, 3.5]


def test_log_without_validation(tmp_path):
    (tmp_path / "log").write_text("nothing\n")
    with pytest.raises(InputError, match="has no validation"):
        training_log.validations(str(tmp_path / "log"))
    with pytest.raises(InputError, match="has neither training nor validation: give the output"):
        training_log.training_and_validation(str(tmp_path / "log"))


INTERVAL = "2026 | INFO | train_inner | epoch 001:     50 / 88 loss={}, ppl=6e+02, num_updates={}\n"
EPOCH = "2026 | INFO | train | epoch 001 | loss 7.5 | nll_loss nan | num_updates 88 | lr 0.004\n"


def test_training(tmp_path):
    """Every interval, or every epoch if there is nothing finer."""
    log = tmp_path / "log"
    log.write_text(EPOCH)
    ((row,), validation) = training_log.training_and_validation(str(log))
    assert (row["epoch"], row["loss"], row["num_updates"], validation) == (1, 7.5, 88, [])
    log.write_text(INTERVAL.format(9.5, 50) + EPOCH + LINE.format(1, 4.0, 88))
    ((row,), (valid,)) = training_log.training_and_validation(str(log))
    assert row == {"epoch": 1.0, "loss": 9.5, "ppl": 600.0, "num_updates": 50.0}
    assert (valid["loss"], valid["num_updates"]) == (4.0, 88)


def test_damaged_log(tmp_path):
    """A process that is killed leaves half a line, and other programs print what they like."""
    log = tmp_path / "log"
    whole, half = LINE.format(1, 4.0, 100), LINE.format(2, 3.5, 200).partition(" | wps")[0]
    log.write_bytes(b"B\xe4r\n" + whole.encode() + half.encode())
    (row,) = training_log.validations(str(log))
    assert row["num_updates"] == 100
