"""fairseq-lrn export. tests/generation/test_onnx_export.py runs the exported models."""

import shutil

import pytest
import torch

from fairseq_lrn.commands import export


@pytest.fixture
def checkpoint(untrained):
    return untrained / "checkpoint_best.pt"


def test_arguments(run, checkpoint, prepared_data, tmp_path, monkeypatch):
    data = tmp_path / "10:30"  # fairseq splits paths there
    shutil.copytree(prepared_data, data)
    calls = []
    monkeypatch.setattr(export, "export", lambda *arguments: calls.append(arguments))
    printed = run("export", checkpoint, data, "--destdir", tmp_path / "onnx")
    run("export", checkpoint.parent, data, "--destdir", tmp_path / "onnx")
    (model, destdir), (same, _) = calls
    assert torch.equal(*(one.encoder.embed_tokens.weight for one in (model, same)))
    assert type(model).__name__ == "LRNModel" and destdir == str(tmp_path / "onnx")
    names = ("encoder.onnx", "decoder.onnx")
    assert printed.splitlines()[-2:] == [f"wrote {tmp_path / 'onnx' / name}" for name in names]


def test_refused_input(refuse, checkpoint, prepared_data, tmp_path):
    destdir = ["--destdir", tmp_path / "onnx"]
    message = refuse("export", tmp_path / "none.pt", prepared_data, *destdir)
    assert "cannot read checkpoint" in message and "none.pt" in message
    message = refuse("export", checkpoint, tmp_path, *destdir)
    assert f"cannot load {checkpoint} with the dictionaries in {tmp_path}" in message
