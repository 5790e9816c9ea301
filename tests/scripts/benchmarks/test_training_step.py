"""A training step of a benchmark trains the model as fairseq does."""

import torch

from benchmarks.training_step import build_trainee
from labelled_corpus import reviews


def test_step(tmp_path):
    arguments = "--task text_classification --arch lrn_classifier --hidden-size 4".split()
    arguments += "--word-embed-dim 8 --criterion sentence_prediction --optimizer adam".split()
    trainee, task, cfg = build_trainee(
        [str(reviews(tmp_path)), *arguments, "--lr", "0.1", "--clip-norm", "0.5"]
    )
    assert trainee.clip_norm == 0.5 and cfg.task._name == "text_classification"
    task.load_dataset("train", data_selector=None)
    dataset = task.dataset("train")
    batch = dataset.collater([dataset[0], dataset[1]])
    before = torch.cat([parameter.detach().flatten() for parameter in trainee.model.parameters()])
    trainee.model.eval()
    trainee.step(batch)
    after = torch.cat([parameter.detach().flatten() for parameter in trainee.model.parameters()])
    assert trainee.model.training and not torch.equal(before, after)
    gradients = [p.grad.flatten() for p in trainee.model.parameters() if p.grad is not None]
    assert torch.cat(gradients).norm() <= 0.5 + 1e-4
