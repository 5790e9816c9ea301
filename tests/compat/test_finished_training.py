"""A finished training run that is started again makes no further update."""

from types import SimpleNamespace

import pytest
from fairseq.dataclass.configs import FairseqConfig
from fairseq.trainer import Trainer

from fairseq_lrn.compat.finished_training import patch_finished_training


@pytest.mark.parametrize("max_update, is_finished", [(5, False), (4, True), (3, True), (0, False)])
def test_updates(monkeypatch, caplog, max_update, is_finished):
    done = []
    monkeypatch.setattr(Trainer, "train_step", lambda self, samples, raise_oom=False: done)
    patch_finished_training()
    parts = SimpleNamespace(cfg=FairseqConfig(), get_num_updates=lambda: 4)
    parts.cfg.optimization.max_update = max_update
    with caplog.at_level("INFO"):
        assert Trainer.train_step(parts, ["batch"]) is (None if is_finished else done)
    message = f"has made 4 updates, and --max-update is {max_update}: it is finished"
    assert (message in caplog.text) == is_finished
