"""Whole models with the recurrence in parallel over time: long texts, unchanged code."""

from argparse import Namespace

import pytest
import torch

from fairseq_lrn.models.classification.classifier import LRNClassifier
from fairseq_lrn.models.reading.reader import LRNReader
from fairseq_lrn.ops import parallel_counts
from labelled_tasks import labelled_task, texts

LENGTHS = (700, 300)
SMALL = {"word_embed_dim": 8, "hidden_size": 5, "character_encoder": "none"}


def language_model(build_lm):
    model = build_lm(plain_layers=True)
    text = torch.randint(4, 12, (2, 4096))

    def run():
        model(text[:, :50], is_continued=False)  # its states are carried into the long segment
        return model(text, is_continued=True)[0]

    return model, run


def classifier(_):
    task = labelled_task()
    model = LRNClassifier.build_model(Namespace(**SMALL), task)
    model.register_classification_head("labels", num_classes=3)
    batch = {"features_only": True, "classification_head_name": "labels"}
    tokens = texts(task, LENGTHS)["src_tokens"]
    return model, lambda: model(src_tokens=tokens, **batch)[0]


def reader(_):
    task = labelled_task(2)
    model = LRNReader.build_model(Namespace(**SMALL, attention_size=6), task)
    batch = {**texts(task, (9, 5)), **texts(task, LENGTHS, prefix="other")}
    return model, lambda: torch.cat(model(batch["src_tokens"], batch["other_tokens"]))


@pytest.mark.parametrize("build", [language_model, classifier, reader])
def test_output_and_gradients(build, build_lm, monkeypatch):
    torch.manual_seed(1)
    model, run = build(build_lm)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for backend in ("reference", "parallel"):
        monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", backend)
        model.eval()
        model.load_state_dict(state)
        model.zero_grad()
        before = parallel_counts().lanes
        output = run()
        output.float().logsumexp(-1).sum().backward()
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((output.detach(), grads))
        assert (parallel_counts().lanes > before) == (backend == "parallel")
    (expected, expected_grads), (found, found_grads) = results
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found_grads.keys() == expected_grads.keys()
    for name, grad in found_grads.items():
        scale = expected_grads[name].abs().max().item() + 1e-3
        torch.testing.assert_close(grad, expected_grads[name], rtol=0, atol=1e-3 * scale)
