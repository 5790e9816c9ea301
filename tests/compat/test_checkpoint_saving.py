"""A file with a checkpoint's name is always complete; files beside it are optional."""

import os
import resource
import stat

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from fairseq_lrn import checkpoints
from fairseq_lrn.compat import checkpoint_saving
from fairseq_lrn.errors import InputError

STATE = {"model": {"w": torch.ones(1000)}}


@pytest.fixture(autouse=True)
def patched():
    checkpoint_saving.patch_checkpoint_saving()  # applied already


@pytest.fixture
def companions(monkeypatch):
    """No functions are registered but those of the test."""
    monkeypatch.setattr(checkpoint_saving, "_companions", [])


@pytest.fixture
def save(tmp_path):
    def save(name, value):
        path = str(tmp_path / name)
        checkpoints.save({"model": {"w": torch.full((1000,), value)}}, path)
        return path

    return save


def test_interrupted_copy(save, tmp_path, monkeypatch):
    """checkpoint_last.pt is a copy: it is either the old file or the new one."""
    old, new = save("checkpoint_last.pt", 0.0), save("checkpoint1.pt", 1.0)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()

    def interrupted(source, destination):
        destination.write(source.read()[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            PathManager.copy(new, old, overwrite=True)
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before
    assert PathManager.copy(new, old, overwrite=True)
    assert torch.equal(checkpoints.load(old)["model"]["w"], torch.ones(1000))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint1.pt", "checkpoint_last.pt"]


@pytest.mark.parametrize("name", ["checkpoint1.pt", "checkpoint_last.pt"])
def test_links_stay(save, tmp_path, name):
    """Checkpoints may be on another disk. The first one of an epoch is written, others are copies.

    They keep their permissions.
    """
    (tmp_path / "disk").mkdir()
    stored = tmp_path / "disk" / "stored.pt"
    stored.touch(mode=0o640)
    (tmp_path / name).symlink_to("disk/stored.pt")
    checkpoint_utils.torch_persistent_save(STATE, str(tmp_path / "checkpoint1.pt"))
    last = str(tmp_path / "checkpoint_last.pt")
    assert PathManager.copy(str(tmp_path / "checkpoint1.pt"), last, overwrite=True)
    assert (tmp_path / name).is_symlink() and stat.S_IMODE(stored.stat().st_mode) == 0o640
    for path in (str(stored), last):
        assert torch.equal(checkpoints.load(path)["model"]["w"], STATE["model"]["w"])
    assert os.listdir(tmp_path / "disk") == ["stored.pt"]


def test_full_disk(save, tmp_path):
    """The error names the file and the reason, and no incomplete file is left."""
    path = save("checkpoint_last.pt", 0.0)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=f"cannot write {path}: File too large"):
            checkpoint_utils.torch_persistent_save({"model": {"w": torch.ones(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["checkpoint_last.pt"]


def test_companions_get_the_checkpoint_and_its_directory(companions, tmp_path):
    calls = []

    def companion(state, directory):
        calls.append((state, directory))

    for _ in range(2):  # registered once
        assert checkpoint_saving.register_companion(companion) is companion
    checkpoint_utils.torch_persistent_save(STATE, str(tmp_path / "checkpoint1.pt"))
    assert calls == [(STATE, str(tmp_path))]


def test_failing_companion_does_not_end_saving(companions, tmp_path, caplog):
    calls = []

    @checkpoint_saving.register_companion
    def failing(state, directory):
        raise RuntimeError("no space left")

    checkpoint_saving.register_companion(lambda state, directory: calls.append(directory))
    path = str(tmp_path / "checkpoint1.pt")
    checkpoint_utils.torch_persistent_save(STATE, path)
    assert torch.equal(checkpoints.load(path)["model"]["w"], STATE["model"]["w"])
    assert calls == [str(tmp_path)]
    assert "no space left" in caplog.text and str(tmp_path) in caplog.text
