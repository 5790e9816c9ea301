"""The language model: its states, its classes, its dropout."""

import copy

import pytest
import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.models.language_modeling.lm_model import ANY_LENGTH, class_range
from fairseq_lrn.modules.cells import CELLS
from kernels import needs_cpp

KINDS = {
    "residual": {"layernorm_projection": True, "decoder_ffn_embed_dim": 10},
    "pre-norm": {"decoder_normalize_before": True, "activation_fn": "identity"},
    "plain": {"plain_layers": True, "decoder_out_embed_dim": 9},
    "mixture": {
        "plain_layers": True,
        "decoder_out_embed_dim": 9,
        "mixture_of_softmaxes": 3,
        "share_decoder_input_output_embed": True,
        "output_bias": True,
    },
}


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=KINDS)
def model(request, build_lm):
    return build_lm(**KINDS[request.param])


def log_probs(model, output):
    return model.get_normalized_probs(output, log_probs=True)


def test_segments_continue_each_other(model, text):
    expected = log_probs(model, model(text))
    found = [
        log_probs(model, model(part, is_continued=index > 0))
        for index, part in enumerate(text.split([3, 1, 10, 11], dim=1))
    ]
    close(torch.cat(found, dim=1), expected)


def test_without_is_continued_nothing_is_kept(model, text):
    model(text, is_continued=False)
    kept = [state.clone() for state in model.decoder._carried[False]]
    model(text[:, :5])
    assert all(map(torch.equal, kept, model.decoder._carried[False]))


def test_training_and_evaluation_have_states_of_their_own(model, text):
    model.train()
    model(text, is_continued=False)
    states = model.decoder.carried_states()
    model.eval()
    model(text[:2], is_continued=False)
    model.train()
    assert all(map(torch.equal, states, model.decoder.carried_states()))
    assert not any(state.requires_grad for state in states)
    model(text, is_continued=True)


def test_states_that_do_not_fit(model, text):
    with pytest.raises(ValueError, match="whose beginning the model has not read"):
        model(text, is_continued=True)
    model(text, is_continued=False)
    message = "batch has 3 columns, but the states that were carried over have 4"
    with pytest.raises(ValueError, match=message):
        model(text[:3], is_continued=True)


def test_incremental_decoding(model, text):
    expected = log_probs(model, model(text))
    order = torch.tensor([1, 1, 3, 0])
    for whole_prefix in (True, False):
        cache = {}
        for step in range(6):
            tokens = text[:, : step + 1] if whole_prefix else text[:, step : step + 1]
            found = log_probs(model, model(tokens, incremental_state=cache))
            close(found, expected[:, step : step + 1])
        model.decoder.reorder_incremental_state(cache, order)
        found = log_probs(model, model(text[order, 6:7], incremental_state=cache))
        close(found, expected[order, 6:7])


def test_padding_on_the_right_changes_nothing(model, text):
    padded = text.clone()
    padded[1, 10:] = padded[2, 3:] = 1
    found, expected = log_probs(model, model(padded)), log_probs(model, model(text))
    close(found[1, :10], expected[1, :10])
    close(found[2, :3], expected[2, :3])


def test_padding_carries_the_state(model, text):
    """Columns may end one token earlier than others."""
    padded = text.clone()
    padded[1, 20:] = 1
    model(padded, is_continued=False)
    states = [state[:, 1] for state in model.decoder._carried[False]]
    model(text[1:2, :20], is_continued=False)
    close([state[:, 0] for state in model.decoder._carried[False]], states)


def test_classes_that_never_occur(model, text, lm_task):
    """<s>, <pad> and made-up words have probability 0, and the others add up to 1."""
    assert class_range(lm_task.source_dictionary) == (2, 40)
    probabilities = model.get_normalized_probs(model(text), log_probs=False)
    assert torch.equal(probabilities[..., :2], torch.zeros(4, 25, 2))
    assert torch.equal(probabilities[..., 40:], torch.zeros(4, 25, 8))
    assert (probabilities[..., 2:40] > 0).all()
    close(probabilities.sum(-1), torch.ones(4, 25))
    masked = model.decoder.masked_tokens()
    assert masked.tolist() == [True] * 2 + [False] * 38 + [True] * 8


def test_dictionary_of_another_order():
    class Other(list):
        def bos(self):
            return 0

        def pad(self):
            return 3

    assert class_range(Other(["<s>", "</s>", "a", "<pad>", "b", "madeupword0000"])) == (1, 5)


def test_mixture_log_probabilities_are_not_logits(build_lm, text):
    model = build_lm(**KINDS["mixture"])
    output = model(text)
    close(output[0].exp().sum(-1), torch.ones(4, 25))


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(build_lm, text, cell):
    model = build_lm(cell=cell, plain_layers=True).train()
    model(text, is_continued=False)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


DROPOUTS = [
    "dropout",
    "decoder_dropout_in",
    "decoder_dropout_out",
    "output_dropout",
    "word_dropout",
    "type_dropout",
    "weight_dropout",
    "recurrent_weight_dropout",
    "mixture_dropout",
]


@pytest.mark.parametrize("option", DROPOUTS)
def test_dropout_in_training_only(build_lm, text, option):
    options = {**KINDS["mixture"], "cell": "gru", option: 0.4}
    model = build_lm(**options)
    expected = build_lm(**{**options, option: 0.0})(text)[0]
    close(model(text)[0], expected)
    assert not torch.allclose(model.train()(text)[0], expected, atol=1e-3)


def test_features(build_lm, text):
    """Before and after dropout, for the regularisers of the loss."""
    model = build_lm(output_dropout=0.5, locked_dropout=True).train()
    features, extra = model(text, features_only=True)
    dropped = features == 0
    assert 0.2 < dropped.float().mean() < 0.8
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    kept = features.masked_select(~dropped)
    close(kept, 2 * extra["features"].masked_select(~dropped))


def test_adaptive_softmax(build_lm, text):
    model = build_lm(adaptive_softmax_cutoff="10,20")
    assert model(text)[0].shape == (4, 25, 16)
    probabilities = model.get_normalized_probs(model(text), False)
    close(probabilities.sum(-1), torch.ones(4, 25))
    of_targets = model.get_normalized_probs(model(text), False, {"target": text})
    close(*(found.gather(-1, text.unsqueeze(-1)) for found in (of_targets, probabilities)))
    assert torch.all(probabilities[..., :2] == 0)  # <s> and <pad>
    assert model.decoder.masked_tokens() is None


def test_no_limit_of_length(build_lm):
    assert build_lm().max_positions() == ANY_LENGTH
    assert build_lm(max_target_positions=7).max_positions() == 7


def test_two_dictionaries(build_lm, lm_task):
    lm_task.target_dictionary = copy.deepcopy(lm_task.source_dictionary)
    lm_task.target_dictionary.add_symbol("another")
    with pytest.raises(ValueError, match="--output-dictionary-size is not supported"):
        build_lm()


def test_packed_weights(model, text):
    expected = log_probs(model, model(text))
    for module in model.modules():
        if hasattr(module, "pack"):
            module.pack()
    with torch.no_grad():
        close(log_probs(model, model(text)), expected)


def test_a_copy_is_independent(model, text):
    model(text, is_continued=False)
    other = copy.deepcopy(model)
    other(text[:2], is_continued=False)
    model(text, is_continued=True)


@needs_cpp
@pytest.mark.parametrize("options", [KINDS["residual"], KINDS["pre-norm"]])
def test_a_token_in_one_call(build_lm, text, options, monkeypatch):
    """Without gradients, all layers are one operator, which computes what they compute."""
    decoder = build_lm(**options).decoder
    expected, _, _ = decoder.read(text.t())
    calls = []
    forward = type(decoder.layers).forward

    def counted(*args):
        calls.append(1)
        return forward(*args)

    monkeypatch.setattr(type(decoder.layers), "forward", counted)
    with torch.no_grad():
        _, _, states = decoder.read(text.t()[:1])
        fused = decoder.fused_step()
        for step in range(1, 9):
            found, _, states = decoder.read(text.t()[step : step + 1], states, fused)
            close(found[0], expected[step])
        assert len(calls) == 1
        decoder.layers[0].register_forward_hook(lambda *_: None)
        assert decoder.fused_step() is None
    assert build_lm(**options).decoder.fused_step() is None  # with gradients


def test_a_checkpoint_with_another_dictionary(build_lm, lm_task):
    state = build_lm().state_dict()
    lm_task.source_dictionary.add_symbol("another")
    with pytest.raises(InputError, match="a dictionary of 48 entries, but the data have one of 49"):
        build_lm().load_state_dict(state)


@pytest.mark.parametrize("kind", ["residual", "pre-norm"])
def test_a_token_under_autocast(build_lm, text, kind):
    decoder = build_lm(**KINDS[kind]).decoder
    with torch.no_grad():
        _, _, states = decoder.read(text.t()[:3])
        expected, _, _ = decoder.read(text.t()[3:4], states)
        with torch.autocast("cpu", torch.bfloat16):
            assert decoder.fused_step() is None
            found, _, _ = decoder.read(text.t()[3:4], states)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("options", [{}, {"plain_layers": True, "decoder_layers": 2}])
def test_carried_states_under_autocast(build_lm, text, options):
    """The layer above one whose output is in half precision carries float32, too."""
    model = build_lm(**options).train()
    with torch.autocast("cpu", torch.bfloat16):
        model(text, is_continued=False)
    assert {state.dtype for state in model.decoder.carried_states()} == {torch.float32}


def test_a_weight_that_changed_between_texts(build_lm, text):
    """Also if it was written through ``data``, of which torch keeps no record."""
    decoder = build_lm().decoder
    for module in decoder.modules():
        if hasattr(module, "pack"):
            module.pack()
    with torch.no_grad():
        decoder.layers[0].out_proj.weight.data.mul_(-3)
        found, _, _ = decoder.read(text.t())
    expected, _, _ = decoder.read(text.t())  # with gradients, packed weights are not used
    close(found, expected)
