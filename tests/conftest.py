"""Shared fixtures."""

import os
import subprocess
import sys
from pathlib import Path

# Set before torch is imported: the other processes of pytest-xdist need cores, too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from warm import Warm

MODULES = ("fairseq_cli.preprocess", "sacrebleu")
ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items):
    for item in items:
        for name in ("quickstart", "trained"):  # fixtures that train a model: once, in one process
            if name in item.fixturenames and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """A process that forks commands, see :class:`warm.Warm`."""
    return Warm(tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="session", autouse=True)
def forked_modules(warm):
    """The two modules that the package runs in processes of their own are forked from *warm*."""
    start = subprocess.Popen.__init__

    def init(self, args, *rest, **options):
        if isinstance(args, list) and args[:2] == [sys.executable, "-m"] and args[2] in MODULES:
            args = [str(warm.stand_ins / "python"), *args[1:]]
        start(self, args, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", init)
        yield


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root directory of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def multi30k() -> Path:
    """The raw text of Multi30k English-German, if it is available next to the checkout."""
    directory = ROOT.parent / "shared" / "data" / "multi30k"
    if not (directory / "train.en").is_file():
        pytest.skip(f"Multi30k is not available: {directory} is missing")
    return directory


@pytest.fixture
def task():
    """A task with a small joined dictionary."""
    from small_models import joined_task  # imports fairseq, which the tests of ops do not need

    return joined_task()


@pytest.fixture
def builders(task):
    """For each model, a function that builds a small model with the given options."""
    import small_models

    return small_models.builders(task)


@pytest.fixture
def build(builders):
    """A function that builds a small model ``lrn`` with the given options."""
    return builders["lrn"]


@pytest.fixture
def build_rnmt(builders):
    """A function that builds a small model ``lrn_rnmt`` with the given options."""
    return builders["lrn_rnmt"]


@pytest.fixture
def batch(task):
    """A function that returns tokens ``B x T`` of sentences with the given lengths."""
    from small_models import batch_maker

    return batch_maker(task)


@pytest.fixture
def save_state(tmp_path):
    """A function: save a checkpoint with the given parameters and return its path."""

    def save_state(name, model, **extra):
        path = tmp_path / name
        torch.save({"args": None, "cfg": {"x": 1}, "model": model, **extra}, path)
        return str(path)

    return save_state


@pytest.fixture(scope="session")
def lm_checkpoints(tmp_path_factory) -> Path:
    """A directory with a checkpoint of an untrained language model; ``data`` is beside it."""
    from toy_checkpoints import save_language_model

    return save_language_model(tmp_path_factory.mktemp("language_model"))


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory) -> Path:
    """Data of ``fairseq-lrn prepare``, from ``train.en`` and ``train.de`` in its parent."""
    from toy_checkpoints import prepare_data

    return prepare_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def untrained(prepared_data, tmp_path_factory) -> Path:
    """A directory with the checkpoint of an untrained model ``lrn``, away from its data."""
    from toy_checkpoints import save_checkpoint

    directory = tmp_path_factory.mktemp("untrained")
    save_checkpoint(directory / "checkpoint_best.pt", prepared_data)
    return directory
