"""Vectors of words from their characters."""

import numpy as np
import pytest
import torch

from fairseq_lrn.modules import characters as module
from fairseq_lrn.modules.characters import CharacterEncoder

PAD = 1
WORDS = ["ab", "c", "", "abcde", "ab"]


def characters_of(words, length):
    """Characters ``T x 1 x L`` of words of the letters a to h."""
    rows = [[2 + ord(letter) - ord("a") for letter in word] for word in words]
    return torch.tensor([row + (length - len(row)) * [PAD] for row in rows]).unsqueeze(1)


def build(kind, **options):
    torch.manual_seed(1)
    defaults = {"cell": "lrn"} if kind == "rnn" else {}
    return CharacterEncoder(
        10, 6, hidden_size=4, kind=kind, padding_idx=PAD, **{**defaults, **options}
    ).eval()


@pytest.mark.parametrize("kind, width", [("rnn", 8), ("max", 6)])
@pytest.mark.parametrize("cell", ["lrn", "lstm", "gru"])
def test_a_word_is_the_same_anywhere(kind, width, cell):
    module = build(kind, cell=cell)
    assert module.width == width
    found = module(characters_of(WORDS, 9))
    assert found.shape == (5, 1, width)
    assert bool((found[2] == 0).all())  # no characters
    torch.testing.assert_close(found[0], found[4])
    for index in (0, 1, 3):
        alone = module(characters_of([WORDS[index]], max(1, len(WORDS[index]))))
        torch.testing.assert_close(alone[0], found[index], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind, rows", [("rnn", 3), ("max", 4)])
def test_equal_words_share_the_recurrence(kind, rows):
    """Only where that is faster, and no dropout makes equal words differ."""
    seen = []
    for dropout, training in [(0.5, False), (0.5, True)]:
        module = build(kind, dropout=dropout).train(training)
        module.embedding.register_forward_hook(lambda _, given, out: seen.append(out.shape))
        module(characters_of(WORDS, 9))
    assert seen == [(5, rows, 6), (5, 4, 6)]  # L x W x E, as long as the longest word


def test_maximum_in_numpy():
    module = build("max")
    with torch.no_grad():
        module.embedding.weight.sub_(5.0)  # zeros of padding would be the maximum
        module.embedding.weight[PAD] = 0.0
    weight = module.embedding.weight.detach().numpy()
    largest = weight[[2, 3]].max(0)
    expected = module.map.weight.detach().numpy() @ largest + module.map.bias.detach().numpy()
    np.testing.assert_allclose(module(characters_of(["ab"], 4))[0, 0].detach(), expected, rtol=1e-5)


def test_final_states_of_both_directions():
    module = build("rnn")
    embedded = module.embedding(characters_of(["abc"], 3)[0].t())  # 1 x L to L x 1 x E
    output, _ = module.recurrence(embedded, module.recurrence.initial_state(embedded))
    expected = torch.cat([output[2, 0, :4], output[0, 0, 4:]])
    torch.testing.assert_close(module(characters_of(["abc"], 5))[0, 0], expected)


@pytest.mark.parametrize("kind", ["rnn", "max"])
def test_dropout_and_gradients(kind):
    module = build(kind, dropout=0.5).train()
    words = characters_of(["abc", "abc"], 3)
    found = module(words)
    assert not torch.allclose(found[0], found[1])  # other masks
    found.sum().backward()
    assert bool((module.embedding.weight.grad[PAD] == 0).all())
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_no_words():
    module = build("rnn")
    assert module(torch.full((3, 2, 4), PAD)).abs().sum() == 0
    assert module(torch.full((0, 2, 4), PAD)).shape == (0, 2, 8)


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"kind must be one of \('rnn', 'max'\), not 'cnn'"):
        CharacterEncoder(9, 4, hidden_size=4, kind="cnn", padding_idx=1)


@pytest.mark.parametrize("multiplier", [None, 0])
def test_unique_rows(multiplier, monkeypatch):
    """Also where different rows have the same number."""
    if multiplier is not None:
        monkeypatch.setattr(module, "MULTIPLIER", multiplier)
    torch.manual_seed(1)
    rows = torch.randint(0, 3, (500, 6))
    unique, inverse = module.unique_rows(rows)
    assert torch.equal(unique[inverse], rows)
    assert sorted(unique.tolist()) == torch.unique(rows, dim=0).tolist()


def test_keys_of_rows():
    row = torch.tensor([5, 7, 9])
    longer = torch.tensor([[5, 7, 9, 0, 0], [7, 5, 9, 0, 0], [0, 5, 7, 9, 0]])
    assert (module.row_keys(longer) == module.row_keys(row)).tolist() == [True, False, False]


@pytest.mark.parametrize("kind", ["rnn", "max"])
def test_float32_under_autocast(kind):
    encoder, characters = build(kind), characters_of(WORDS, 9)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(characters)
    assert torch.equal(found, encoder(characters)) and found.dtype == torch.float32
