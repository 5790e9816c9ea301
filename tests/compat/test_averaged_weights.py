"""fairseq's trainer evaluates and saves averaged weights."""

from types import SimpleNamespace

import pytest
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from fairseq_lrn.compat import averaged_weights


class Optimizer:
    def __init__(self):
        self.calls = []

    def begin_evaluation(self):
        self.calls.append("evaluation")

    def observe_validation(self, loss):
        self.calls.append(loss)


def trainer(optimizer):
    """The parts of a trainer that the methods use."""
    return SimpleNamespace(
        _optimizer=optimizer,
        optimizer=optimizer,
        data_parallel_rank=0,
        task=SimpleNamespace(begin_valid_epoch=lambda *args: None),
        get_model=lambda: None,
    )


def options(maximize):
    return SimpleNamespace(save_dir=None, maximize_best_checkpoint_metric=maximize)


def test_validation_begins():
    averaged_weights.patch_averaged_weights()  # applied already
    optimizer = Optimizer()
    Trainer.begin_valid_epoch(trainer(optimizer), 1)
    assert optimizer.calls == ["evaluation"]
    for other in (None, object()):  # fairseq-validate builds no optimiser
        Trainer.begin_valid_epoch(trainer(other), 1)


def test_saving():
    """Before fairseq's own function. The whole is in end_to_end/test_language_model.py."""
    optimizer = Optimizer()
    for loss in (4.5, None):
        with pytest.raises(TypeError):  # from fairseq: there is no directory
            checkpoint_utils.save_checkpoint(options(False), trainer(optimizer), None, loss)
    assert optimizer.calls == [4.5, "evaluation", "evaluation"]


def test_a_metric_of_which_more_is_better():
    optimizer = Optimizer()
    with pytest.raises(TypeError):
        checkpoint_utils.save_checkpoint(options(True), trainer(optimizer), None, 80.0)
    assert optimizer.calls[0] == -80.0
