"""The input of models of labelled text: words, characters, vectors of a file, dropout."""

import pytest
import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.models.word_input import (
    TextLayers,
    WordInput,
    WordInputConfig,
    windows,
)
from labelled_tasks import labelled_task, texts

SMALL = {"word_embed_dim": 6, "character_embed_dim": 5, "character_hidden_size": 4}


@pytest.fixture
def task():
    return labelled_task()


@pytest.fixture
def build(task):
    def make(**options):
        torch.manual_seed(1)
        cfg = WordInputConfig(**{**SMALL, **options})
        cfg.check()
        return WordInput(cfg, task.source_dictionary, task.character_dictionary)

    return make


@pytest.mark.parametrize("kind, width", [("none", 6), ("rnn", 6 + 8), ("max", 6 + 5)])
def test_width(build, task, kind, width):
    module = build(character_encoder=kind)
    batch = texts(task, [3, 5])
    x = module(batch["src_tokens"], batch["src_characters"])
    assert x.shape == (5, 2, width) and module.width == width
    assert module.reads_characters == (kind != "none")
    assert bool((x[3:, 0] == 0).all())  # padding
    torch.testing.assert_close(x[:, 1, :6], module.words(batch["src_tokens"][1]))


def test_characters_are_missing(build, task):
    module = build(character_encoder="rnn")
    with pytest.raises(ValueError, match="src_characters is missing"):
        module(texts(task, [3])["src_tokens"])
    cfg = WordInputConfig(character_encoder="max")
    with pytest.raises(ValueError, match="--character-encoder max needs characters"):
        WordInput(cfg, task.source_dictionary, None)


def test_word_dropout_gives_the_unknown_word(build, task):
    module = build(word_dropout=0.5).train()
    tokens = texts(task, [200])["src_tokens"]
    x = module(tokens)[:, 0]
    unknown = module.words(torch.tensor(task.source_dictionary.unk()))
    is_dropped = (x == unknown).all(1)
    assert 0.3 < is_dropped.float().mean() < 0.7
    torch.testing.assert_close(x[~is_dropped], module.words(tokens[0])[~is_dropped])
    module.eval()
    torch.testing.assert_close(module(tokens)[:, 0], module.words(tokens[0]))


def test_padding_is_not_dropped(build, task):
    module = build(word_dropout=0.9).train()
    assert bool((module(texts(task, [1, 40])["src_tokens"])[1:, 0] == 0).all())


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    rows = {"word7": 7.0, "word3": 3.0, "another": 9.0}
    path.write_text("".join(f"{word} {' '.join(6 * [str(x)])}\n" for word, x in rows.items()))
    return str(path)


@pytest.mark.parametrize("freeze", [False, True])
def test_word_vectors(build, task, vectors, freeze):
    module = build(word_vectors=vectors, freeze_word_vectors=freeze)
    index = task.source_dictionary.index
    found = module.words(torch.tensor([index("word3"), index("word7"), index("word5")]))
    assert found[0].tolist() == 6 * [3.0] and found[1].tolist() == 6 * [7.0]
    found.sum().backward()
    number = sum(parameter.numel() for parameter in module.parameters())
    assert number == (34 - 2 * freeze) * 6


def test_frequent_words_are_tuned(build, task, vectors):
    """The first words of the dictionary, which is sorted by frequency."""
    dictionary = task.source_dictionary
    first, last = sorted(("word3", "word7"), key=dictionary.index)
    tuned = dictionary.index(first) - dictionary.nspecial + 1
    options = {"word_vectors": vectors, "freeze_word_vectors": True}
    is_fixed = build(**options, tuned_word_vectors=tuned).words.is_fixed
    assert is_fixed.nonzero().tolist() == [[dictionary.index(last)]]
    is_fixed = build(**options, tuned_word_vectors=tuned - 1).words.is_fixed
    assert int(is_fixed.sum()) == 2


def test_vectors_of_other_words(build, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("other 1 2 3 4 5 6\n")
    with pytest.raises(InputError, match="has no word of the dictionary"):
        build(word_vectors=str(path))
    path.write_text("word1 1 2 3\n")
    with pytest.raises(InputError, match="vectors.txt"):
        build(word_vectors=str(path))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hidden_size": 0}, "--hidden-size must be at least 1"),
        ({"input_window": 2}, "--input-window must be an odd number, not 2"),
        ({"word_dropout": 1.0}, "--word-dropout is a probability"),
        ({"character_encoder": "cnn"}, "--character-encoder must be one of"),
        ({"freeze_word_vectors": True}, "--freeze-word-vectors needs --word-vectors FILE"),
        ({"tuned_word_vectors": -1}, "--tuned-word-vectors must be at least 0, not -1"),
        ({"tuned_word_vectors": 9}, "has no effect without --freeze-word-vectors"),
        ({"cell": "gru", "activation_fn": "identity"}, "--activation-fn identity applies only to"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        WordInputConfig(**options).check()


@pytest.mark.parametrize("cell", ["lrn", "olrn", "gru", "lstm", "atr", "sru"])
def test_final_states_are_the_last_outputs(cell):
    layers = TextLayers(WordInputConfig(cell=cell, hidden_size=4, layers=2), 5).eval()
    padding = torch.zeros(7, 3, dtype=torch.bool)
    padding[5:, 1] = True
    output, found = layers(torch.randn(7, 3, 5), padding)
    expected = torch.cat([output[[6, 4, 6], [0, 1, 2], :4], output[0, :, 4:]], dim=1)
    torch.testing.assert_close(found, expected)
    assert layers.width == 8


def test_windows():
    x = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    assert windows(x, 3)[:, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0]]
    assert torch.equal(windows(x, 1), x)
    layers = TextLayers(WordInputConfig(hidden_size=4, input_window=3), 5).eval()
    x = torch.randn(6, 2, 5)
    expected, _, _ = layers.layers(windows(x, 3))
    torch.testing.assert_close(layers(x, None)[0], expected)


def test_residual_layers():
    """The input's map, and the layers of the translation models."""
    cfg = WordInputConfig(hidden_size=4, layers=2, residual_layers=True, dropout=0.3)
    layers = TextLayers(cfg, 5).eval()
    x = torch.randn(7, 3, 5)
    output, states = layers(x, None)
    assert output.shape == (7, 3, 8) and states.shape == (3, 8)
    expected = layers.input_map(x)
    for layer in layers.layers:
        expected, _ = layer(expected, layer.initial_state(expected))
    torch.testing.assert_close(output, expected)
