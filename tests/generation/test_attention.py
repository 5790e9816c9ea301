"""Attention of a translation to its source."""

import pytest
import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.attention import merge, subword_attention


def test_attention_of_subwords_becomes_attention_of_words():
    """Two source words of 2 and 1 subwords; two target words of 1 and 2; and both EOS."""
    attention = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.4, 0.0], [0.1, 0.1, 0.2, 0.6], [0.0, 0.0, 0.0, 1.0]]
    )
    expected = torch.tensor([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(merge(attention, [0, 1, 1, 2], [0, 0, 1, 2]), expected)
    # Without words, only EOS is left.
    torch.testing.assert_close(merge(torch.ones(1, 1), [0], [0]), torch.ones(1, 1))
    # The second source word and the first target word have no subwords.
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.7, 0.0, 0.3], [0.1, 0.0, 0.9]])
    found = merge(torch.tensor([[0.7, 0.3], [0.1, 0.9]]), [1, 2], [0, 2])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt", "transformer_lrn"])
def test_mean_over_models(builders, name):
    models = [builders[name]().eval() for _ in range(2)]
    for model in models:
        torch.nn.init.normal_(model.decoder.embed_tokens.weight)
        model.make_generation_fast_()
    source, target = torch.tensor([4, 5, 6, 2]), torch.tensor([7, 8, 2])
    found = [subword_attention([model], source, target) for model in models]
    assert found[0].shape == (3, 4) and not found[0].equal(found[1])
    torch.testing.assert_close(found[0].sum(1), torch.ones(3))
    torch.testing.assert_close(subword_attention(models, source, target), sum(found) / 2)
    assert not any(model.decoder.need_attn for model in models)


def test_model_without_attention(build):
    model = build()
    model.decoder.extract_features = lambda *_: (torch.zeros(1, 1, 16), {"attn": [None]})
    with pytest.raises(InputError, match="LRNModel returns no attention: translate without it"):
        subword_attention([model.eval()], torch.tensor([4, 2]), torch.tensor([2]))
