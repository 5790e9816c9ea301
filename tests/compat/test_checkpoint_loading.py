"""fairseq loads checkpoints safely, and its errors name the file and the reason."""

import argparse
import os

import numpy
import pytest
import torch
from fairseq import checkpoint_utils

from fairseq_lrn.compat.checkpoint_loading import (
    allow_checkpoint_types,
    patch_checkpoint_loading,
)
from fairseq_lrn.errors import InputError


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("malicious",)


@pytest.fixture
def save(tmp_path):
    def save(name, model, **extra):
        path = tmp_path / name
        history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
        state = {
            "args": None,
            "cfg": None,
            "model": model,
            "optimizer_history": [{**history, "num_updates": 0}],
            "extra_state": {"epoch": 1},
        }
        torch.save({**state, **extra}, path)
        return str(path)

    return save


@pytest.fixture(autouse=True)
def patched():
    for _ in range(2):  # applied already
        allow_checkpoint_types()
        patch_checkpoint_loading()


@pytest.mark.parametrize("kind", [numpy.int64, numpy.float64])
def test_types_of_fairseq(save, kind):
    """Options without a dataclass, and n-gram counts of --eval-bleu by one or several processes."""
    options, counts = argparse.Namespace(arch="lstm"), numpy.array([5, 4, 3, 2]).astype(kind)
    state = checkpoint_utils.load_checkpoint_to_cpu(
        save("a.pt", {"w": torch.ones(2)}, options=options, counts=counts)
    )
    assert state["options"] == options and (state["counts"] == counts).all()


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read checkpoint .*bad.pt"),
        (b"not a checkpoint", "checkpoint .*bad.pt is damaged"),
        ("truncated", "checkpoint .*bad.pt is damaged"),
        ({"model": Malicious()}, "not loaded for safety"),
        ({"weights": 1}, "bad.pt is not a fairseq checkpoint: it has no model"),
    ],
    ids=["missing", "foreign", "truncated", "malicious", "no model"],
)
def test_unusable_file(save, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if content == "truncated":
        save("bad.pt", {"w": torch.zeros(1000)})
        path.write_bytes(path.read_bytes()[:1000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert not (tmp_path / "malicious").exists()
