"""Shared fixtures."""

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch looks: the other processes want cores too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items):
    for item in items:
        if "quickstart" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("quickstart"))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def multi30k() -> Path:
    """Raw Multi30k English-German, which lies beside the checkout where it is available."""
    directory = ROOT.parent / "shared" / "data" / "multi30k"
    if not (directory / "train.en").is_file():
        pytest.skip(f"Multi30k is not at {directory}")
    return directory


@pytest.fixture
def task():
    """A task with a joined dictionary of a few words."""
    from small_models import joined_task  # it imports fairseq, which tests of the operators do not

    return joined_task()


@pytest.fixture
def builders(task):
    """A function for each model that builds a small one, with options."""
    import small_models

    return small_models.builders(task)


@pytest.fixture
def build(builders):
    """Build a small model ``lrn``."""
    return builders["lrn"]


@pytest.fixture
def build_rnmt(builders):
    """Build a small model ``lrn_rnmt``."""
    return builders["lrn_rnmt"]


@pytest.fixture
def batch(task):
    """A function that gives sentences of several lengths, padded on the side asked for."""
    from small_models import batch_maker

    return batch_maker(task)


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
