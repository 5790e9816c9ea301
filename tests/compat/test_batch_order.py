"""A resumed training run sees the same batches as one that was never interrupted."""

import inspect
from argparse import Namespace
from types import SimpleNamespace

import pytest
from fairseq.tasks.fairseq_task import FairseqTask
from fairseq.tasks.translation import TranslationConfig
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from fairseq_lrn.compat.batch_order import patch_batch_order, rebuilding_batches


def locked(options):
    """Options as fairseq-train gives them to a task: no item can be added."""
    config = OmegaConf.create(options)
    OmegaConf.set_struct(config, True)
    return config


OPTIONS = {
    "dataclass": TranslationConfig(),
    "configuration": locked({"_name": "translation", "data": "here"}),
    "namespace": Namespace(task="translation", data="here"),
    "none": None,
    "dictionary": {"data": "here"},
}


def batches(iterator):
    return [sorted(batch["id"].tolist()) for batch in iterator.next_epoch_itr(shuffle=True)]


@pytest.mark.parametrize("form", [form for form in OPTIONS if form != "dictionary"])
def test_batches_of_a_later_epoch(trainer, form):
    patch_batch_order()  # applied already
    started, resumed = (trainer(cfg=OPTIONS[form]) for _ in range(2))
    uninterrupted = Trainer.get_train_iterator(started, 1, load_dataset=False)
    first, second = batches(uninterrupted), batches(uninterrupted)
    assert batches(Trainer.get_train_iterator(resumed, 2, load_dataset=False)) == second
    # Grouped anew, not only in another order. fairseq 0.12.2 has the same batches in all epochs.
    can_rebuild = "rebuild_batches" in inspect.getsource(FairseqTask.get_batch_iterator)
    assert (sorted(first) != sorted(second)) == can_rebuild


@pytest.mark.parametrize("form", OPTIONS)
def test_options_of_the_task_are_unchanged(form):
    """Inside, they are the same object with the same items, as tasks read them there."""
    options, task = OPTIONS[form], SimpleNamespace(cfg=OPTIONS[form])
    before = repr(options)
    with rebuilding_batches(task):
        assert options is None or task.cfg is options
        assert form == "namespace" or repr(options) == before
    assert task.cfg is options and repr(options) == before
    assert not hasattr(options, "rebuild_batches")


def test_a_choice_of_the_user_is_kept():
    task = SimpleNamespace(cfg=locked({"rebuild_batches": False}))
    with rebuilding_batches(task):
        assert task.cfg.rebuild_batches is False


def test_a_task_without_options():
    class Task:
        @property
        def cfg(self):
            return None

    for task in (Task(), object()):
        with rebuilding_batches(task):
            pass
