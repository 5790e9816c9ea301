"""A resumed training run sees the same batches as one that was never interrupted."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.trainer import Trainer

from fairseq_lrn.compat.batch_order import patch_batch_order


@pytest.fixture
def trainer():
    """The parts of a trainer that make batches, for 40 sentences in batches of 4."""

    def build():
        dictionary = Dictionary()
        sentences = [torch.full((3,), 4 + number) for number in range(40)]
        lengths = [len(sentence) for sentence in sentences]
        task = TranslationTask(TranslationConfig(), dictionary, dictionary)
        task.datasets["train"] = LanguagePairDataset(
            *(sentences, lengths, dictionary), *(sentences, lengths, dictionary)
        )
        cfg = FairseqConfig()
        cfg.dataset.batch_size, cfg.dataset.num_workers = 4, 0
        return SimpleNamespace(
            cfg=cfg,
            task=task,
            model=SimpleNamespace(max_positions=lambda: (100, 100)),
            data_parallel_world_size=1,
            data_parallel_rank=0,
            reset_dummy_batch=lambda batch: None,
        )

    return build


def batches(iterator):
    return [sorted(batch["id"].tolist()) for batch in iterator.next_epoch_itr(shuffle=True)]


def test_batches_of_a_later_epoch(trainer):
    patch_batch_order()  # applied already
    uninterrupted = Trainer.get_train_iterator(trainer(), 1, load_dataset=False)
    first, second = batches(uninterrupted), batches(uninterrupted)
    resumed = Trainer.get_train_iterator(trainer(), 2, load_dataset=False)
    assert batches(resumed) == second
    assert sorted(first) != sorted(second)  # grouped anew, not only in another order


def test_options_of_the_task_are_unchanged(trainer):
    trainer = trainer()
    options = trainer.task.cfg
    Trainer.get_train_iterator(trainer, 1, load_dataset=False)
    assert trainer.task.cfg is options
    assert not hasattr(options, "rebuild_batches")
