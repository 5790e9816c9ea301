"""fairseq's trainer tells a criterion the number of updates."""

from types import SimpleNamespace

import pytest
from fairseq.trainer import Trainer

from fairseq_lrn.compat.criterion_updates import patch_criterion_updates


class Criterion:
    def __init__(self):
        self.calls = []

    def follow_updates(self, num_updates):
        self.calls.append(num_updates)


@pytest.fixture
def trainer():
    """The parts of a trainer that the method uses."""
    return SimpleNamespace(
        lr_step_update=lambda: None, quantizer=None, get_lr=lambda: 0.1, get_num_updates=lambda: 7
    )


def test_criterion_is_told_once(trainer):
    patch_criterion_updates()  # applied already
    trainer._criterion = Criterion()
    Trainer.set_num_updates(trainer, 7)
    assert trainer._criterion.calls == [7] and trainer._num_updates == 7


def test_criterion_without_the_method(trainer):
    """A method of another project, with the name that models use, is left to that project."""

    class Foreign:
        def set_num_updates(self, task, num_updates):
            raise AssertionError("called by the trainer")

    trainer._criterion = Foreign()
    Trainer.set_num_updates(trainer, 7)
    assert trainer._num_updates == 7
