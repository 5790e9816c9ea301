"""Validation losses out of fairseq's log."""

import pytest

from fairseq_lrn import training_log
from fairseq_lrn.command import InputError

LINE = (
    "2026 | INFO | valid | epoch {:03d} | valid on 'valid' subset | loss {} | nll_loss 2.5 "
    "| ppl 5.66 | wps 9 | num_updates {} | best_loss 3\n"
)


def test_table(tmp_path):
    log = tmp_path / "log"
    rows = [(1, 4.0, 100), (2, 3.5, 200), (2, 3.25, 200)]  # the second epoch was resumed
    log.write_text("noise\n" + "".join(LINE.format(*row) for row in rows))
    table = training_log.table(training_log.validations(str(log))).splitlines()
    assert table[2:] == ["| 1 | 100 | 4.000 | 2.500 | 5.66 |", "| 2 | 200 | 3.250 | 2.500 | 5.66 |"]


def test_log_without_validation(tmp_path):
    (tmp_path / "log").write_text("nothing\n")
    with pytest.raises(InputError, match="has no validation"):
        training_log.validations(str(tmp_path / "log"))
