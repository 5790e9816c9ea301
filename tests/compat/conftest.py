"""Fixtures of the tests of patches."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks.translation import TranslationConfig, TranslationTask


@pytest.fixture
def trainer():
    """A function: the parts of a trainer that make batches, for 40 sentences in batches of 4."""

    def build(**changes):
        dictionary = Dictionary()
        sentences = [torch.full((3,), 4 + number) for number in range(40)]
        lengths = [len(sentence) for sentence in sentences]
        task = TranslationTask(TranslationConfig(), dictionary, dictionary)
        task.max_positions = lambda: (100, 100)  # it reads the options
        vars(task).update(changes)
        task.datasets["train"] = LanguagePairDataset(
            *(sentences, lengths, dictionary), *(sentences, lengths, dictionary)
        )
        cfg = FairseqConfig()
        cfg.dataset.batch_size, cfg.dataset.num_workers = 4, 0
        cfg.dataset.update_epoch_batch_itr = False
        cfg.dataset.batch_size_valid, cfg.dataset.max_tokens_valid = 4, None
        return SimpleNamespace(
            cfg=cfg,
            task=task,
            model=SimpleNamespace(max_positions=lambda: (100, 100)),
            data_parallel_world_size=1,
            data_parallel_rank=0,
            reset_dummy_batch=lambda batch: None,
        )

    return build
