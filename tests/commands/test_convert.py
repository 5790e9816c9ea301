"""fairseq-lrn convert. end_to_end/test_convert.py translates with a converted model."""

import json

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils

from fairseq_lrn.commands.convert import (
    read_parameters,
    read_variables,
    read_vocabulary,
    save_for_fairseq,
)
from fairseq_lrn.errors import InputError
from fairseq_lrn.models.translation.zero_weights import config_from_zero, from_zero
from parity import DATA, load, starting_with

CASE = DATA / "deepnmt" / "lrn_cae1_deep0_ln1_2x2_nofeat.npz"
SIZES = {"en": 23, "de": 27}  # special words included


@pytest.fixture
def variables():
    return {k: v.numpy() for k, v in starting_with(load(CASE)[1], "w/").items()}


@pytest.fixture
def parameters():
    return load(CASE)[0]


@pytest.fixture
def files(variables, parameters, tmp_path):
    """The toolkit's files, as arguments of the command."""
    np.savez(tmp_path / "model.npz", **variables)
    (tmp_path / "param.json").write_text(json.dumps(parameters))
    for lang in SIZES:
        lines = ["<pad>", "<unk>", "<eos>", *words(lang)]
        (tmp_path / f"vocab.{lang}").write_text("\n".join(lines) + "\n")
    options = {
        "variables": "model.npz",
        "parameters": "param.json",
        "source-vocab": "vocab.en",
        "target-vocab": "vocab.de",
    }
    return [
        *("-s", "en", "-t", "de", "--destdir", tmp_path / "out"),
        *(f"--{name}={tmp_path / file}" for name, file in options.items()),
    ]


def words(lang):
    return [f"{lang}{index}" for index in range(SIZES[lang] - 3)]


def convert(variables, parameters, target_words):
    """A model, its options, and the indices of the toolkit's words in fairseq's dictionaries."""
    model, source_ids, target_ids = from_zero(variables, parameters, words("en"), target_words)
    return model, config_from_zero(parameters), source_ids, target_ids


def test_command(run, files, variables, parameters, tmp_path):
    assert "lrn" in run("convert", *files)
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([f"{tmp_path}/out/model.pt"])
    assert (task.cfg.source_lang, task.cfg.target_lang) == ("en", "de")
    expected, _, _, _ = convert(variables, parameters, words("de"))
    assert task.source_dictionary == expected.encoder.dictionary
    assert task.target_dictionary == expected.decoder.dictionary
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["model.pt", "dict.en.txt", "dict.de.txt"])
def test_nothing_is_overwritten(refuse, files, tmp_path, name):
    """Binarised data may belong to a dictionary."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")
    message = refuse("convert", *files)
    assert f"{name} exists already: remove it or choose another --destdir" in message
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_incomplete_variables(refuse, files, variables, tmp_path):
    del variables["deepnmt/bias"]
    np.savez(tmp_path / "model.npz", **variables)
    assert "missing: deepnmt/bias" in refuse("convert", *files)
    assert not (tmp_path / "out").exists()


def test_saved_model_computes_the_same(variables, parameters, tmp_path):
    model, config, source_ids, _ = convert(variables, parameters, words("de"))
    path = save_for_fairseq(model, config, "en", "de", str(tmp_path / "new"))
    (loaded,), _, _ = checkpoint_utils.load_model_ensemble_and_task([path])
    source, target = source_ids[torch.tensor([[5, 9, 7, 2]])], torch.tensor([[2, 9, 4]])
    expected, _ = model(source, None, target)
    assert torch.equal(loaded.eval()(source, None, target)[0], expected)


def test_words_like_fairseqs_special_symbols(variables, parameters, tmp_path):
    target_words = ["<s>", "</s>", *words("de")[:22]]
    model, config, _, target_ids = convert(variables, parameters, target_words)
    path = save_for_fairseq(model, config, "en", "de", str(tmp_path))
    _, _, task = checkpoint_utils.load_model_ensemble_and_task([path])
    assert len(task.target_dictionary) == len(model.decoder.dictionary) == 28
    assert len(set(target_ids.tolist())) == 27


def test_places_that_cannot_be_written(variables, parameters, tmp_path):
    model, config, _, _ = convert(variables, parameters, words("de"))
    with pytest.raises(InputError, match="both languages are en, .*: give different names"):
        save_for_fairseq(model, config, "en", "en", str(tmp_path / "new"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to .*file/below"):
        save_for_fairseq(model, config, "en", "de", str(tmp_path / "file" / "below"))


def test_vocabulary(tmp_path):
    path = tmp_path / "vocabulary"
    path.write_text("<pad>\n<unk>\n<eos>\na\nb\na\n")  # the toolkit ignores repeated words as well
    assert read_vocabulary(str(path)) == ["a", "b"]


@pytest.mark.parametrize(
    "read, content, message",
    [
        (read_variables, None, "cannot read the variables"),
        (read_variables, "damaged", "cannot read the variables .* as an .npz file"),
        (read_parameters, None, "cannot read the parameters"),
        (read_parameters, "{", "cannot read the parameters .*; give a JSON file"),
        (read_parameters, "[1]", "has no parameters: give a JSON object"),
        (read_vocabulary, None, "cannot read"),
        (read_vocabulary, "a\nB\udce4r\n", r"is not UTF-8 \(line 2\): convert it"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, read, content, message):
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=message) as error:
        read(str(path))
    assert str(path) in str(error.value)
