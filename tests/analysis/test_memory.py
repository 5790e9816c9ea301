"""How much an encoder layer keeps of each subword of a sentence."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from fairseq_lrn import load_translator
from fairseq_lrn.analysis.memory import END, memory
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules import RecurrentLayer
from toy_checkpoints import save_checkpoint

SENTENCE = "The small dog sees the cat."


@pytest.fixture(scope="module")
def translator(untrained):
    return load_translator(str(untrained))


def test_weights(translator):
    result = memory(translator, SENTENCE)
    assert result.subwords == [*translator.raw.subwords(SENTENCE), END]
    size = len(result.subwords)
    assert result.weights.shape == result.long_term.shape == (size, size)
    # A state holds only what the layer has read, most recently the subword itself.
    assert not result.weights.triu(1).any()
    torch.testing.assert_close(result.weights.diagonal(), result.short_term)
    torch.testing.assert_close(result.long_term.diagonal(), torch.ones(size))
    assert (result.short_term > 0).all()
    # A state never holds more of a subword than the state before it.
    assert (result.weights.diff(dim=0).tril() <= 0).all()


def test_backward_recurrence(translator):
    result = memory(translator, SENTENCE, backward=True)
    assert not result.weights.tril(-1).any()
    torch.testing.assert_close(result.weights.diagonal(), result.short_term)


@pytest.mark.parametrize("backward", [False, True])
def test_blocks_of_hidden_units(translator, monkeypatch, backward):
    """A long sentence is analysed in several blocks, with the same result."""
    expected = memory(translator, SENTENCE, backward=backward)
    monkeypatch.setattr(sys.modules[memory.__module__], "BLOCK", 3 * len(expected.subwords) ** 2)
    for one, other in zip(memory(translator, SENTENCE, backward=backward)[1:], expected[1:]):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layer": 0}, "has no LRN layer 0: choose one from 1 to 1"),
        ({"layer": 2}, "has no LRN layer 2: choose one from 1 to 1"),
        ({"sentence": " "}, "the sentence is empty"),
        ({"sentence": "a\nb"}, "the sentence has several lines: give each line"),
        ({"sentence": b"a"}, "the sentence must be a string, not bytes"),
    ],
)
def test_wrong_arguments(translator, options, message):
    with pytest.raises(InputError, match=message):
        memory(translator, **{"sentence": SENTENCE, **options})


def test_other_threads(translator):
    """They may translate and analyse with the same model, in which no hook is left."""
    expected = memory(translator, SENTENCE).weights
    sentences = [SENTENCE, "The dog."] * 10
    with ThreadPoolExecutor(4) as pool:
        translated = pool.map(lambda sentence: translator(sentence, max_len_b=5), sentences)
        for sentence, found in zip(sentences, pool.map(partial(memory, translator), sentences)):
            if sentence == SENTENCE:
                torch.testing.assert_close(found.weights, expected)
        assert list(translated) == [translator(sentence, max_len_b=5) for sentence in sentences]
    modules = translator.models[0].encoder.modules()
    assert not any(module._forward_pre_hooks for module in modules)


def test_encoder_in_one_direction(translator, monkeypatch):
    recurrences = [
        module
        for module in translator.models[0].encoder.modules()
        if isinstance(module, RecurrentLayer)
    ]
    monkeypatch.setattr(recurrences[0], "num_directions", 1)
    with pytest.raises(InputError, match="has no backward recurrence"):
        memory(translator, SENTENCE, backward=True)


def test_encoder_without_lrn(prepared_data, tmp_path):
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data, "--cell", "gru")
    with pytest.raises(InputError, match="the encoder has no LRN layers"):
        memory(load_translator(str(tmp_path)), SENTENCE)
