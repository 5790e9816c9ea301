"""Small prepared data."""

import shutil
from pathlib import Path

import pytest

from fairseq_lrn.data.parallel import write_lines
from fairseq_lrn.data.prepare import PrepareOptions, prepare
from toy_grammar import generate


@pytest.fixture(scope="session")
def prepare_toy_data():
    """Prepare a few hundred sentences in a directory, and return the directory of the data."""

    def prepare_toy_data(directory, **options):
        pairs = generate(300)
        for side, lang in enumerate(("en", "de")):
            write_lines(str(directory / f"train.{lang}"), [pair[side] for pair in pairs])
        prefix = str(directory / "train")
        defaults = {"trainpref": prefix, "validpref": prefix, "destdir": str(directory / "data")}
        prepare(PrepareOptions("en", "de", **{**defaults, "vocab_size": 300, **options}))
        return directory / "data"

    return prepare_toy_data


@pytest.fixture(scope="session")
def original_data(prepare_toy_data, tmp_path_factory):
    """Prepared data that no test changes."""
    return prepare_toy_data(tmp_path_factory.mktemp("original"))


@pytest.fixture
def data(original_data, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(original_data, tmp_path / "data"))
