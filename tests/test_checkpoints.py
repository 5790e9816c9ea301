"""Finding, averaging and safely loading checkpoints."""

import argparse
import os
import resource

import numpy
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("malicious",)


@pytest.fixture
def save(tmp_path):
    def save(name, model, **extra):
        path = tmp_path / name
        torch.save({"args": None, "cfg": {"x": 1}, "model": model, **extra}, path)
        return str(path)

    return save


def test_average(save):
    models = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([2.0, 6.0]), "n": torch.tensor(4)},
    ]
    paths = [
        save(f"checkpoint{n}.pt", m, last_optimizer_state={"a": 1}) for n, m in enumerate(models)
    ]
    state = checkpoints.average(paths)
    assert torch.equal(state["model"]["w"], torch.tensor([1.5, 4.0]))
    assert torch.equal(state["model"]["n"], torch.tensor(3))
    assert state["cfg"] == {"x": 1}
    assert "last_optimizer_state" not in state


def test_average_of_different_models(save):
    paths = [save("a.pt", {"w": torch.zeros(2)}), save("b.pt", {"w": torch.zeros(3)})]
    with pytest.raises(InputError, match="not checkpoints of the same model"):
        checkpoints.average(paths)


def test_find(tmp_path):
    names = ["checkpoint1.pt", "checkpoint2.pt", "checkpoint10.pt", "checkpoint_1_500.pt"]
    names += ["checkpoint_last.pt", "checkpoint.best_bleu_-2.50.pt", "checkpoint.best_bleu_30.1.pt"]
    for name in names:
        (tmp_path / name).touch()

    def find(*arguments):
        return [os.path.basename(path) for path in checkpoints.find(str(tmp_path), *arguments)]

    assert find(checkpoints.EPOCH, 2) == ["checkpoint10.pt", "checkpoint2.pt"]
    assert find(checkpoints.EPOCH, 2, 9) == ["checkpoint2.pt", "checkpoint1.pt"]
    assert find(checkpoints.UPDATE, 1) == ["checkpoint_1_500.pt"]
    with pytest.raises(InputError, match="has 3 checkpoints .* not 4"):
        find(checkpoints.EPOCH, 4)


@pytest.mark.parametrize("maximize, expected", [(True, "3.5"), (False, "-2.50")])
def test_find_best(tmp_path, save, maximize, expected):
    config = {"checkpoint": {"maximize_best_checkpoint_metric": maximize}}
    for value in ("3.5", "-2.50", "1.0"):
        path = save(f"checkpoint.best_metric_{value}.pt", {})
        torch.save({"model": {}, "cfg": config}, path)
    assert checkpoints.find(str(tmp_path), checkpoints.BEST, 1) == [
        str(tmp_path / f"checkpoint.best_metric_{expected}.pt")
    ]


def test_what_fairseq_needs_is_loaded(save, tmp_path):
    """Models configured without a dataclass have their options in a Namespace."""
    state = checkpoints.load(save("a.pt", {}, options=argparse.Namespace(a=1)))
    assert state["options"].a == 1
    counts = numpy.array([5, 4, 3, 2])  # of n-grams, with --eval-bleu
    state = checkpoints.load(save("b.pt", {}, counts=counts))
    assert (state["counts"] == counts).all()
    weights = {
        "w": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
    }
    state = checkpoints.load(save("c.pt", weights, shape=torch.Size([2]), dtype=torch.float16))
    assert torch.equal(state["model"]["half"], weights["half"])
    torch.save({"model": weights}, tmp_path / "d.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoints.load(str(tmp_path / "d.pt"))["model"]["w"], weights["w"])


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read checkpoint"),
        (b"", "damaged"),
        (b"not a checkpoint", "damaged"),
        ("truncated", "damaged"),
        ({"model": Malicious()}, "not loaded for safety"),
        ({"weights": 1}, "it has no model"),
    ],
    ids=["missing", "empty", "foreign", "truncated", "malicious", "no model"],
)
def test_bad_checkpoints(save, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if content == "truncated":
        save("bad.pt", {"w": torch.zeros(1000)})
        path.write_bytes(path.read_bytes()[:1000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    for load in (checkpoints.load, checkpoint_utils.load_checkpoint_to_cpu):
        with pytest.raises(InputError, match=message) as error:
            load(str(path))
        assert "bad.pt" in str(error.value)
        assert not (tmp_path / "malicious").exists()


def test_save_keeps_the_old_file_until_the_new_one_is_whole(save, tmp_path):
    path = save("a.pt", {"w": torch.ones(1)})
    before = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(Exception, match="pickle|local object"):
        checkpoints.save({"model": lambda: None}, path)
    assert (tmp_path / "a.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]


def test_copies_of_fairseq_are_whole(save, tmp_path, monkeypatch):
    """checkpoint_last.pt is a copy; whatever happens, there is the old one or the new one."""
    old, new = save("last.pt", {"w": torch.zeros(1000)}), save("new.pt", {"w": torch.ones(1000)})
    before = (tmp_path / "last.pt").read_bytes()

    def interrupted(source, destination):
        destination.write(source.read()[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            PathManager.copy(new, old, overwrite=True)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert PathManager.copy(new, old, overwrite=True)
    assert torch.equal(checkpoints.load(old)["model"]["w"], torch.ones(1000))
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "new.pt"]


def test_what_fails_to_be_made_is_not_said_to_fail_to_be_written(tmp_path):
    with pytest.raises(RuntimeError, match="^no translation$") as caught:
        with checkpoints.replacing(str(tmp_path / "out.de")):
            raise RuntimeError("no translation")
    assert caught.type is RuntimeError and os.listdir(tmp_path) == []


def test_full_disk(save, tmp_path):
    """fairseq's saving names the file and the reason, and leaves nothing half written."""
    path = save("a.pt", {"w": torch.ones(1)})
    before = (tmp_path / "a.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=f"cannot write {path}: File too large; files"):
            checkpoint_utils.torch_persistent_save({"model": {"w": torch.ones(100_000)}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]
