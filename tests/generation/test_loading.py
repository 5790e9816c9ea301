"""The device of a trained model, and the files that raw text needs."""

import shutil

import pytest
import torch

from fairseq_lrn import load_tagger
from fairseq_lrn.data.labelled_options import LabelledOptions
from fairseq_lrn.data.prepare_labelled import prepare_labelled
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.loading import usable_device
from labelled_corpus import untrained_model


def test_devices():
    assert usable_device("cpu") == torch.device("cpu")
    assert usable_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        usable_device("abacus")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("tagged"), "tagged")


@pytest.mark.parametrize("missing", ["input0", "label", "characters"])
def test_an_incomplete_directory(checkpoints, tmp_path, missing):
    """A copy of the checkpoints without what is in directories, for example."""
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints, copy)
    load_tagger(copy)
    shutil.rmtree(copy / missing)
    message = f"copy lacks {missing}/dict.txt: copy what is missing .*prepare-labelled made"
    with pytest.raises(InputError, match=message):
        load_tagger(copy)
    with pytest.raises(InputError, match=message):
        load_tagger(checkpoints, data=copy)
    load_tagger(copy, data=checkpoints)


def test_data_without_the_characters_of_the_model(checkpoints, tmp_path):
    prefix, destdir = checkpoints.parent, tmp_path / "data"
    prepare_labelled(
        LabelledOptions(
            kind="tags",
            trainpref=str(prefix / "train.txt"),
            validpref=str(prefix / "valid.txt"),
            destdir=str(destdir),
            characters=False,
        )
    )
    with pytest.raises(InputError, match="data does not have the data of .*checkpoint_last.pt"):
        load_tagger(checkpoints, data=destdir)
