"""Safe loading and saving of checkpoints, and the choice among them."""

import argparse
import json
import os

import numpy
import pytest
import torch
from fairseq.tasks.translation import TranslationConfig

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("malicious",)


def test_types_of_fairseq_are_loaded(save_state, tmp_path):
    """Models configured without a dataclass have their options in a Namespace."""
    state = checkpoints.load(save_state("a.pt", {}, options=argparse.Namespace(a=1)))
    assert state["options"].a == 1
    counts = numpy.array([5, 4, 3, 2])  # of n-grams, after training with --eval-bleu
    state = checkpoints.load(save_state("b.pt", {}, counts=counts))
    assert (state["counts"] == counts).all()
    weights = {
        "w": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
    }
    state = checkpoints.load(
        save_state("c.pt", weights, shape=torch.Size([2]), dtype=torch.float16)
    )
    assert torch.equal(state["model"]["half"], weights["half"])
    torch.save({"model": weights}, tmp_path / "d.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoints.load(str(tmp_path / "d.pt"))["model"]["w"], weights["w"])


def test_directory_in_place_of_a_file(tmp_path):
    message = f"^{tmp_path} is a directory: give a checkpoint in it, e.g. checkpoint_best.pt"
    with pytest.raises(InputError, match=message):
        checkpoints.load(str(tmp_path))


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
def test_unusable_file(save_state, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if content == "truncated":
        save_state("bad.pt", {"w": torch.zeros(1000)})
        path.write_bytes(path.read_bytes()[:1000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message) as error:
        checkpoints.load(str(path))
    assert "bad.pt" in str(error.value)
    assert not (tmp_path / "malicious").exists()


def test_save_keeps_the_old_file_until_the_new_one_is_complete(save_state, tmp_path):
    path = save_state("a.pt", {"w": torch.ones(1)})
    before = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(Exception, match="pickle|local object"):
        checkpoints.save({"model": lambda: None}, path)
    assert (tmp_path / "a.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("name", ["checkpoint_last.pt", "checkpoint_best.pt", "averaged.pt"])
def test_preferred(tmp_path, name):
    """Each is preferred to the ones before it."""
    names = list(checkpoints.PREFERRED)
    for lower in names[names.index(name) :]:
        (tmp_path / lower).touch()
    assert checkpoints.preferred(str(tmp_path)) == name


def test_nothing_preferred(tmp_path):
    (tmp_path / "checkpoint7.pt").touch()
    message = "has no averaged.pt, checkpoint_best.pt or checkpoint_last.pt: give the name"
    with pytest.raises(InputError, match=message):
        checkpoints.preferred(str(tmp_path))


@pytest.mark.parametrize(
    "names, reason",
    [
        (["checkpoint_last.pt"], "the newest"),
        (
            ["checkpoint_last.pt", "checkpoint_best.pt"],
            "the best on the validation set, which takes precedence over checkpoint_last.pt",
        ),
        (
            ["checkpoint_best.pt", "checkpoint_last.pt", "averaged.pt"],
            "a mean of checkpoints, which takes precedence over checkpoint_best.pt and "
            "checkpoint_last.pt; fairseq-lrn average DIR compares them",
        ),
        (
            ["averaged.pt", "checkpoint_last.pt"],
            "a mean of checkpoints, which takes precedence over checkpoint_last.pt; fairseq-lrn "
            "average DIR compares them",
        ),
    ],
)
def test_choice_is_logged_with_its_reason(tmp_path, caplog, names, reason):
    for time, name in enumerate(names):  # oldest first
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    with caplog.at_level("INFO"):
        (path,) = checkpoints.chosen(tmp_path)
    expected = [f"loading {path} ({reason.replace('DIR', str(tmp_path))})"]
    if names[0] == "averaged.pt":
        expected.append("checkpoint_last.pt is newer than averaged.pt: average again to include it")
    assert caplog.messages == expected
    assert checkpoints.preferred(str(tmp_path)) == os.path.basename(path)


def test_chosen(tmp_path):
    (tmp_path / "checkpoint_last.pt").touch()
    last = str(tmp_path / "checkpoint_last.pt")
    assert checkpoints.chosen([tmp_path, last]) == [last, last]
    with pytest.raises(InputError, match="at least one checkpoint"):
        checkpoints.chosen([])
    assert checkpoints.chosen(f"{last}:b.pt") == [last, "b.pt"]
    assert checkpoints.chosen(os.fsencode(tmp_path), "c.pt") == [str(tmp_path / "c.pt")]
    message = "checkpoint=c.pt is a name in a directory, but .*last.pt is not a directory: give"
    with pytest.raises(InputError, match=message):
        checkpoints.chosen(last, "c.pt")
    with pytest.raises(InputError, match="path must be a path, not NoneType"):
        checkpoints.chosen(None)
    with pytest.raises(InputError, match="checkpoint must be a path, not int"):
        checkpoints.chosen(tmp_path, 3)


def test_paths_with_the_separator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "10:30").mkdir()
    for name in ("10:30/a.pt", "b.pt", "c:d.pt"):
        (tmp_path / name).touch()
    for joined, paths in {
        "b.pt:missing.pt": ["b.pt", "missing.pt"],
        "10:30": ["10:30"],
        "10:30/a.pt:b.pt:10:30/missing.pt": ["10:30/a.pt", "b.pt", "10:30/missing.pt"],
        "c:d.pt:b.pt": ["c:d.pt", "b.pt"],
    }.items():
        assert checkpoints.split_paths(joined) == paths


def test_readable(tmp_path):
    """fairseq gets a path without the separator."""
    directory = tmp_path / "10:30"
    directory.mkdir()
    (directory / "dict.en.txt").write_text("a 1\n")
    with checkpoints.readable(str(directory)) as path:
        assert ":" not in path and os.listdir(path) == ["dict.en.txt"]
    assert not os.path.lexists(path) and (directory / "dict.en.txt").exists()
    for other in (str(tmp_path), "https://example.org/model.tar.gz"):
        with checkpoints.readable(other) as path:
            assert path == other


@pytest.mark.parametrize("task", [{"source_lang": "en"}, argparse.Namespace(source_lang="en")])
def test_source_language(task):
    state = {"cfg": {"task": task}}
    assert checkpoints.source_lang(state) == "en"
    assert checkpoints.task_options(state) == {"source_lang": "en"}


@pytest.mark.parametrize(
    "cfg", [{"task": None}, argparse.Namespace(task={"_name": "x"}), TranslationConfig()]
)
def test_options_in_other_forms(cfg):
    """Options without a task, and options that fairseq stores as they are."""
    state = {"cfg": cfg}
    assert checkpoints.task_name(state) == ("x" if isinstance(cfg, argparse.Namespace) else None)
    assert checkpoints.options_of(state, "checkpoint") == {}


def test_options_of_old_versions():
    state = {"cfg": None, "args": argparse.Namespace(task="translation", data="here")}
    assert checkpoints.task_name(state) == "translation"
    assert checkpoints.task_options(state)["data"] == "here"


@pytest.mark.parametrize("state", [{}, {"cfg": None}, {"cfg": {"task": {}}}])
def test_unknown_source_language(state):
    assert checkpoints.source_lang(state) is None


@pytest.mark.parametrize(
    "mean, value, maximize, expected",
    [
        (1.0, 2.0, False, True),
        (1.0, 2.0, True, False),
        (2.0, 2.0, False, False),
        (1.0, float("nan"), False, True),
        (float("nan"), 2.0, False, False),
        (float("nan"), float("nan"), True, False),
    ],
)
def test_better(mean, value, maximize, expected):
    names = ["a.pt", "b.pt"]
    assert checkpoints.Comparison(names, "x", mean, "c.pt", value, maximize).is_better == expected


def test_what_is_known_of_a_mean_does_not_depend_on_times(tmp_path):
    """Copies of files have the times of the copying."""
    names = ("averaged.pt", "averaged.json", "checkpoint_best.pt", "checkpoint_last.pt")
    for name in ("averaged.pt", "checkpoint_best.pt", "checkpoint_last.pt"):
        (tmp_path / name).write_text(name)
    directory = str(tmp_path)
    comparison = checkpoints.Comparison(["a.pt"], "loss", 1.0, "b.pt", 2.0, False)
    checkpoints.write_comparison(comparison, directory)
    for order in (names, names[::-1]):
        for time, name in enumerate(order):
            os.utime(tmp_path / name, (time, time))
        assert checkpoints.newer_than_average(directory) is None
        assert checkpoints.read_comparison(directory)[:6] == comparison[:6]
    # Training goes on.
    (tmp_path / "checkpoint_last.pt").write_text("checkpoint_LAST.pt")
    os.utime(tmp_path / "checkpoint_last.pt", (0, 0))
    assert checkpoints.newer_than_average(directory) == "checkpoint_last.pt"
    # Another mean.
    (tmp_path / "averaged.pt").write_text("AVERAGED.pt")
    os.utime(tmp_path / "averaged.pt", (0, 0))
    assert checkpoints.read_comparison(directory) is None


def test_records_of_earlier_versions(tmp_path):
    """They have no fingerprints; there the times count."""
    comparison = checkpoints.Comparison(["a.pt"], "loss", 1.0, "b.pt", 2.0, False)
    for time, name in enumerate(("averaged.pt", "averaged.json", "checkpoint_last.pt")):
        record = {**comparison._asdict()}
        del record["files"]
        (tmp_path / name).write_text(json.dumps(record))
        os.utime(tmp_path / name, (time, time))
    assert checkpoints.read_comparison(str(tmp_path)) == comparison
    assert checkpoints.newer_than_average(str(tmp_path)) == "checkpoint_last.pt"
    os.utime(tmp_path / "averaged.pt", (9, 9))
    assert checkpoints.read_comparison(str(tmp_path)) is None
    assert checkpoints.newer_than_average(str(tmp_path)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mean": null}', "not JSON"])
def test_damaged_comparison(tmp_path, text):
    whole = checkpoints.Comparison(["a.pt"], "loss", 1.0, "b.pt", 2.0, False)
    for name in ("averaged.pt", "averaged.json"):
        (tmp_path / name).touch()
    checkpoints.write_comparison(whole, str(tmp_path))
    assert checkpoints.read_comparison(str(tmp_path))[:6] == whole[:6]
    damaged = json.loads(text) if "mean" in text else None
    whole_text = json.dumps({**whole._asdict(), **damaged}) if damaged else text
    (tmp_path / "averaged.json").write_text(whole_text)
    assert checkpoints.read_comparison(str(tmp_path)) is None
