"""Validation on the subset that is trained leaves training alone."""

import pytest
from fairseq.trainer import Trainer

from fairseq_lrn.compat.trained_subset import patch_trained_subset


@pytest.mark.parametrize("has_copy", [False, True])
def test_training_goes_on_where_it_was(trainer, has_copy):
    patch_trained_subset()  # applied already
    parts = trainer()
    trained = parts.task.datasets["train"]
    if has_copy:
        parts.task.evaluated = {"train": trainer().task.datasets["train"]}
    training = Trainer.get_train_iterator(parts, 1, load_dataset=False)
    batches = training.next_epoch_itr()
    next(batches)
    for _ in range(2):
        validation = Trainer.get_valid_iterator(parts, "train")
        validated = validation.next_epoch_itr(shuffle=False, set_dataset_epoch=False)
        assert sum(len(batch["id"]) for batch in validated) == 40
        assert validation.dataset is (parts.task.evaluated["train"] if has_copy else trained)
    assert (training.epoch, training.iterations_in_epoch) == (1, 1)
    assert training.state_dict()["iterations_in_epoch"] == 1
    assert Trainer.get_train_iterator(parts, 1, load_dataset=False) is training
    assert len(list(batches)) == 9 and parts.task.datasets["train"] is trained


def test_other_subsets_are_fairseqs_business(trainer):
    parts = trainer()
    parts.task.datasets["valid"] = parts.task.datasets["train"]
    first, second = (Trainer.get_valid_iterator(parts, "valid") for _ in range(2))
    assert first is second  # kept, as in fairseq
