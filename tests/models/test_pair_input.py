"""The input of models of two texts: matches and neighbours beside the words."""

import pytest
import torch

from fairseq_lrn.models.pair_input import PairInput, PairInputConfig, match_features
from fairseq_lrn.models.word_input import WordInput, windows
from labelled_tasks import labelled_task


def build(kind, **options):
    torch.manual_seed(1)
    cfg = PairInputConfig(word_embed_dim=6, **options)
    return kind(cfg, labelled_task(num_inputs=2).source_dictionary, None)


def test_match_features():
    tokens = torch.tensor([[5, 6, 7, 1]])
    other = torch.tensor([[7, 5, 1, 1, 9]])
    found = match_features(tokens, other, 1)
    assert found[0].tolist() == [[True, False, True, False]]
    assert found[1].tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("encoder", ["rnn", "none"])
def test_unknown_words_match_by_their_characters(encoder):
    task = labelled_task(num_inputs=2)
    cfg = PairInputConfig(word_embed_dim=6, match_feature=True, character_encoder=encoder)
    module = PairInput(cfg, task.source_dictionary, task.character_dictionary)
    pad, unknown = task.source_dictionary.pad(), task.source_dictionary.unk()
    tokens = torch.tensor([[unknown, unknown, 5, pad]])
    other = torch.tensor([[unknown, 5, 6]])
    characters = torch.tensor([[[5, 6], [6, 5], [4, 4], [pad, pad]]])
    other_characters = torch.tensor([[[6, 5, pad, pad], [7, 7, 7, 7], [4, 4, pad, pad]]])
    x, y = module(tokens, other, characters, other_characters)
    is_match = 1.0 * (encoder == "rnn")
    assert x[:, 0, -1].tolist() == [0.0, is_match, 1.0, 0.0]
    assert y[:, 0, -1].tolist() == [is_match, 1.0, 0.0]


def test_words_matches_and_neighbours():
    tokens, other = torch.tensor([[5, 6, 7, 1]]), torch.tensor([[7, 8, 5]])
    words = build(WordInput)(tokens)
    torch.testing.assert_close(build(PairInput)(tokens, other), (words, build(WordInput)(other)))
    matches = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(4, 1, 1)
    expected = windows(torch.cat([words, matches], dim=-1), 3)
    module = build(PairInput, match_feature=True, input_window=3)
    found, _ = module(tokens, other)
    torch.testing.assert_close(found, expected)
    assert found.shape == (4, 1, module.width)
    # The names of the parameters are those of the input of one text, so checkpoints still load.
    assert module.state_dict().keys() == build(WordInput).state_dict().keys()


def test_aligned_words():
    """The mean of the other text's words, weighted by similarity; padding has no weight."""
    module = build(PairInput, align_words=True)
    tokens = torch.tensor([[5, 6, 7], [8, 1, 1]])
    other = torch.tensor([[7, 8], [5, 1]])
    x, y = module(tokens, other)
    words = build(WordInput)
    assert x.shape == (3, 2, 12) and y.shape == (2, 2, 12)
    torch.testing.assert_close(x[..., :6], words(tokens))
    keys = [torch.relu(module.alignment(words(text))) for text in (tokens, other)]
    weights = torch.einsum("tc,sc->ts", keys[0][:, 0], keys[1][:, 0]).softmax(-1)
    torch.testing.assert_close(x[:, 0, 6:], weights @ words(other)[:, 0])
    torch.testing.assert_close(x[0, 1, 6:], words(other)[0, 1])  # its only word
    torch.testing.assert_close(y[0, 1, 6:], words(tokens)[0, 1])


def test_product_of_aligned_words():
    module = build(PairInput, align_words=True, align_product=True)
    x, y = module(torch.tensor([[5, 6, 7], [8, 1, 1]]), torch.tensor([[7, 8], [5, 1]]))
    assert x.shape == (3, 2, 18) and y.shape == (2, 2, 18) and module.width == 18
    for text in (x, y):
        words, aligned, product = text.chunk(3, dim=-1)
        torch.testing.assert_close(product, words * aligned)
    assert x[:, 0, 12:].abs().min() > 0 and x[1:, 1].abs().max() == 0  # padding
    with pytest.raises(ValueError, match="--align-product has no effect without"):
        PairInputConfig(align_product=True).check()


def test_alignment_under_autocast():
    """The scores are rounded no more than their factors."""
    module = build(PairInput, align_words=True)
    seen = []

    def aligned(scores, tokens, other, words):
        seen.append(scores)
        return words.new_zeros(tokens.size(1), 1, words.size(2))

    module._aligned = aligned
    with torch.autocast("cpu", torch.bfloat16):
        module(torch.tensor([[5, 6, 7]]), torch.tensor([[7, 8]]))
    assert seen[0].dtype == torch.float32
    assert not torch.equal(seen[0], seen[0].bfloat16().float())
