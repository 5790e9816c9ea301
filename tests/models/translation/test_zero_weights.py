"""Conversion of the authors' weights: vocabularies, names, messages. Results: test_parity.py."""

import numpy as np
import pytest
import torch

from fairseq_lrn.models.translation.zero_weights import ConversionError, _cell_variables, from_zero
from fairseq_lrn.modules.cells import ATRCell, build_cell
from parity import DATA, load, starting_with

CASE = DATA / "deepnmt" / "lrn_cae1_deep0_ln1_2x2_nofeat.npz"


@pytest.fixture
def variables():
    return {k: v.numpy() for k, v in starting_with(load(CASE)[1], "w/").items()}


@pytest.fixture
def parameters():
    return load(CASE)[0]


def words(size, prefix):
    return [f"{prefix}{index}" for index in range(size - 3)]


def test_ids(variables, parameters):
    model, source_ids, target_ids = from_zero(variables, parameters, words(23, "s"), words(27, "t"))
    assert source_ids.dtype == target_ids.dtype == torch.long
    dictionary = model.decoder.dictionary
    assert target_ids[:3].tolist() == [dictionary.pad(), dictionary.unk(), dictionary.eos()]
    assert dictionary[int(target_ids[3])] == "t0" and dictionary[int(target_ids[26])] == "t23"
    assert model.encoder.dictionary[int(source_ids[22])] == "s19"
    assert not model.training
    matrix = torch.from_numpy(variables["deepnmt/tgt_embedding"])
    assert torch.equal(model.decoder.embed_tokens.weight[target_ids], matrix)


def test_one_message_lists_all_problems(variables, parameters):
    del variables["deepnmt/bias"], variables["deepnmt/src_embedding"]
    variables["deepnmt/tgt_embedding"] = variables["deepnmt/tgt_embedding"][0]
    variables["elsewhere/b_0"] = np.zeros(3, np.float32)
    variables["deepnmt/encoder/layer_0/ff/b_0"] = np.array(["a"])
    variables["deepnmt/encoder/layer_7/ff/b_0"] = np.zeros(3, np.float32)
    variables["deepnmt/decoder/layer_1/ff/b_0"] = np.zeros(5, np.float32)
    with pytest.raises(ConversionError) as caught:
        from_zero(variables, parameters)
    message = str(caught.value)
    assert "missing: deepnmt/bias" in message and "missing: deepnmt/src_embedding" in message
    assert "wrong shape: deepnmt/tgt_embedding is (12,), not (3, 12)" in message
    assert "unknown: elsewhere/b_0" in message
    assert "not numeric: deepnmt/encoder/layer_0/ff/b_0" in message
    assert "unknown: deepnmt/encoder/layer_7/ff/b_0" in message
    assert "wrong shape: deepnmt/decoder/layer_1/ff/b_0 is (5,), not (12,)" in message


def test_variables_of_training_are_ignored(variables, parameters):
    expected = from_zero(variables, parameters)[0].state_dict()
    for name in list(variables):
        variables[f"{name}/Adam"] = variables[f"{name}/Adam_1"] = variables[name] + 1
        variables[f"{name}/CTrainOpReplica"] = variables[name] + 1
        variables[f"{name}/ExponentialMovingAverage"] = variables[name] + 1
    variables.update({"global_step": np.array(7), "beta1_power": np.array(0.1)})
    variables.update({"loss/CTrainOpReplica": np.array(7), "count/CTrainOpReplica": np.array(1)})
    variables = {f"{name}:0": value for name, value in variables.items()}
    state = from_zero(variables, parameters)[0].state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_numbers_of_other_types(variables, parameters):
    expected = from_zero(variables, parameters)[0].state_dict()
    swapped = {name: value.astype(">f8") for name, value in variables.items()}
    state = from_zero(swapped, parameters)[0].state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_any_scope(variables, parameters):
    renamed = {name.replace("deepnmt/", "mine/"): value for name, value in variables.items()}
    from_zero(renamed, parameters)


def test_one_embedding_matrix_for_both_languages_is_the_output_matrix():
    """As in the toolkit, ``shared_target_softmax_embedding`` then has no effect."""
    record, arrays = load(DATA / "deepnmt" / "lrn_cae1_deep0_ln1_2x2_shareall.npz")
    weights = {k: v.numpy() for k, v in starting_with(arrays, "w/").items()}
    for softmax in (False, True):
        record = {**record, "shared_target_softmax_embedding": softmax}
        model, source_ids, target_ids = from_zero(weights, record)
        matrix = torch.from_numpy(weights["deepnmt/embedding"])
        assert torch.equal(model.encoder.embed_tokens.weight[source_ids], matrix)
        assert model.decoder.output_projection.weight is model.encoder.embed_tokens.weight
        assert torch.equal(source_ids, target_ids)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cell": "rnn"}, "cell is 'rnn', not one of lrn"),
        ({"variant": "other"}, "variant is 'other'"),
        ({"num_heads": 3}, "--hidden-size .16. must be divisible"),
        ({"hidden_size": None}, "hidden_size is missing; num_heads is missing"),
        ({"ln_epsilon": 1e-5}, "epsilon of layer norm is 1e-05"),
        ({"hidden_size": "many"}, "invalid literal"),
        ({"shared_source_target_embedding": True}, "missing: deepnmt/embedding"),
    ],
)
def test_bad_parameters(variables, parameters, changes, message):
    changed = {**parameters, **changes}
    if changes.get("hidden_size", 0) is None:
        del changed["hidden_size"], changed["num_heads"]
    with pytest.raises(ConversionError, match=message):
        from_zero(variables, changed)


def test_bad_variables_and_vocabularies(variables, parameters):
    with pytest.raises(ConversionError, match="no variable belongs to a model"):
        from_zero({"global_step": np.array(1)}, parameters)
    with pytest.raises(ConversionError, match="has 5 words in addition to .* has 23 rows"):
        from_zero(variables, parameters, words(8, "s"), words(27, "t"))
    with pytest.raises(ConversionError, match="contains a word more than once"):
        from_zero(variables, parameters, ["a"] * 20, words(27, "t"))


def test_a_cell_that_the_toolkit_does_not_have(monkeypatch):
    """It is refused: otherwise its parameters would stay random."""
    monkeypatch.setattr("fairseq_lrn.models.translation.zero_weights.LRNCell", ATRCell)
    with pytest.raises(ValueError, match="variables of --cell lrn are not known"):
        dict(_cell_variables("", build_cell("lrn", 4, 6), "lrn"))
