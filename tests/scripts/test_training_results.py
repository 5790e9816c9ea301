"""Tables of training runs from their logs."""

import math

import pytest

import training_results
from fairseq_lrn.analysis.training_log import validations
from fairseq_lrn.errors import InputError

LINE = (
    "2026 | INFO | valid | epoch {:03d} | valid on 'valid' subset | loss {} | nll_loss 2.5 "
    "| ppl 5.66 | wps 9 | num_updates {} | best_loss 3\n"
)


def test_table(tmp_path):
    log = tmp_path / "log"
    rows = [(1, 4.0, 100), (2, 3.5, 200), (2, 3.25, 200)]  # the second epoch was repeated
    log.write_text("noise\n" + "".join(LINE.format(*row) for row in rows))
    table = training_results.validation_table(validations(str(log))).splitlines()
    assert table[2:] == ["| 1 | 100 | 4.000 | 2.500 | 5.66 |", "| 2 | 200 | 3.250 | 2.500 | 5.66 |"]


def test_table_without_perplexity(tmp_path):
    """The criterion of a classifier logs none."""
    (tmp_path / "log").write_text(LINE.format(1, 4.0, 100).replace("| ppl 5.66 ", ""))
    table = training_results.validation_table(validations(str(tmp_path / "log")))
    assert table.splitlines()[2] == "| 1 | 100 | 4.000 | 2.500 |  |"


GENERATED = "Generate test with beam=5: BLEU4 = {}, 70/50/30/20 (BP=1.000, ratio=1.0)\n"


def test_results(tmp_path):
    run = tmp_path / "lrn-1"
    run.mkdir()
    rows = [(1, math.nan, 100), (2, 3.5, 200), (3, 3.6, 300)]
    text = "".join(LINE.format(*row) for row in rows)
    done = "done training in {} seconds\n"  # in two processes
    (run / "train.log").write_text(text + done.format("41.5") + done.format("20.0"))
    (run / "generate-valid.txt").write_text(GENERATED.format("41.5"))
    (run / "score-valid.txt").write_text("chrF2|nrefs:1|case:lc|eff:yes|nc:6 = 61.25\n")
    (tmp_path / "data-bin").mkdir()
    (tmp_path / "lrn-2").mkdir()
    (tmp_path / "lrn-2" / "train.log").write_text("in its first epoch\n")
    found = training_results.results(
        [str(tmp_path / name) for name in ("data-bin", "lrn-2", "lrn-1/")]
    )
    result = training_results.Result("lrn-1", 300, 3.5, 2.5, 41.5, None, 61.5, valid_chrf=61.25)
    assert found == [result]
    table = training_results.results_table(found).splitlines()
    assert table[2:] == ["| lrn-1 |  | 300 | 3.500 | 2.500 | 41.50 |  | 62 |"]
    # A third process, which was killed, logged no time.
    with open(run / "train.log", "a") as log:
        log.write(3 * "num. shared model params: 1,200 (num. trained: 1,200)\n")
    (killed,) = training_results.results([str(run)])
    assert killed == result._replace(seconds=None, parameters=1200.0)


def test_seeds_and_best():
    rows = [
        training_results.Result("lrn-1", 300, 3.5, 2.5, 41.5, 40.0, 61.5, 2.4e6, valid_chrf=60.0),
        training_results.Result("lrn-12", 300, 3.25, 2.5, 42.0, None, 61.5, 2.4e6, valid_chrf=61.0),
        training_results.Result("lrn-1", 400, math.nan, math.nan, None, None, 1.0),
    ]
    assert training_results.seeds_table(rows).splitlines()[2:] == [
        "| lrn | 2.40 | 300 | 2 | 3.375 (3.250 to 3.500) | 41.75 (41.50 to 42.00) "
        "| 60.50 (60.00 to 61.00) |  |  |",
        "| lrn |  | 400 | 1 | nan |  |  |  |  |",
    ]
    assert training_results.best(rows[::-1]).name == "lrn-12"
    with pytest.raises(InputError, match="all training runs diverged: lower"):
        training_results.best(rows[2:])
    # lstm was wider once: two sizes are two models.
    sizes = [
        training_results.Result(f"lstm-{seed}", 9, 3.0, 2.0, None, None, 1.0, seed * 1e6)
        for seed in (1, 2)
    ]
    assert len(training_results.seeds_table(sizes).splitlines()) == 4


def test_results_of_language_models(tmp_path):
    """fairseq's cross entropy logs no nll_loss."""
    line = LINE.replace("| nll_loss 2.5 ", "")
    for name, loss in (("lrn-1", 7.0), ("lstm_lm-1", 7.5)):
        (tmp_path / name).mkdir()
        parameters = "| num. shared model params: 5,931,600 (num. trained: 5,931,600)\n"
        (tmp_path / name / "train.log").write_text(parameters + line.format(1, loss, 100))
        (tmp_path / name / "eval-valid.log").write_text("Loss (base 2): 7.0, Perplexity: 128.50\n")
    (tmp_path / "lrn-1" / "eval-test.log").write_text("Perplexity: 1.00\nPerplexity: 120.25\n")
    found = training_results.results([str(tmp_path / name) for name in ("lrn-1", "lstm_lm-1")])
    with pytest.raises(InputError, match="lrn-1 is a language model, .*: leave it out"):
        training_results.seeds_table(found)
    assert [(row.loss, row.nll_loss) for row in found] == [(7.0, 7.0), (7.5, 7.5)]
    table = training_results.results_table(found).splitlines()
    assert table[2:] == [
        "| lrn-1 | 5.93 | 100 | 128.50 | 120.25 |  |",
        "| lstm_lm-1 | 5.93 | 100 | 128.50 |  |  |",
    ]
    (tmp_path / "lrn-1" / "eval-test.log").write_text("Perplexity: inf\n")
    (diverged,) = training_results.results([str(tmp_path / "lrn-1")])
    assert (
        training_results.results_table([diverged]).splitlines()[2].endswith("| 128.50 | inf |  |")
    )
    translation = training_results.Result("lrn-2", 300, 3.5, 2.5, 41.5, None, 61.5)
    both = training_results.results_table([*found, translation]).split("\n\n")
    assert ["BLEU" in both[0], "ppl" in both[1]] == [True, True]


def test_no_results(tmp_path):
    with pytest.raises(
        InputError, match="no directory has a train.log with a validation: give directories"
    ):
        training_results.results([str(tmp_path)])


def test_translations_without_bleu(tmp_path):
    (tmp_path / "generate-test.txt").write_text("H-0\t-1\tnothing\n")
    with pytest.raises(InputError, match="has no BLEU: fairseq-generate did not finish"):
        training_results.read_bleu(str(tmp_path / "generate-test.txt"))
