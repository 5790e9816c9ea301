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


PAD, EOS = 1, 2


def batch(sources, targets):
    """A batch as fairseq makes it: sources are padded on the left, targets on the right."""
    width, height = max(map(len, sources)), max(map(len, targets))
    source = torch.tensor([(width - len(row)) * [PAD] + row for row in sources])
    target = torch.tensor([row + (height - len(row)) * [PAD] for row in targets])
    shifted = torch.tensor([[EOS] + row[:-1] + (height - len(row)) * [PAD] for row in targets])
    lengths = torch.tensor(list(map(len, sources)))
    inputs = {"src_tokens": source, "src_lengths": lengths, "prev_output_tokens": shifted}
    return {"net_input": inputs, "target": target}


@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt", "transformer_lrn"])
def test_mean_over_models(builders, name):
    models = [builders[name]().eval() for _ in range(2)]
    for model in models:
        torch.nn.init.normal_(model.decoder.embed_tokens.weight)
        model.make_generation_fast_()
    sources, targets = [[4, 5, 6, EOS], [7, EOS]], [[7, 8, EOS], [4, 4, 5, 6, EOS]]
    sample = batch(sources, targets)
    found = [subword_attention([model], sample, PAD) for model in models]
    means = subword_attention(models, sample, PAD)
    for number, (source, target) in enumerate(zip(sources, targets)):
        first, second = found[0][number], found[1][number]
        assert first.shape == (len(target), len(source)) and not first.equal(second)
        torch.testing.assert_close(first.sum(1), torch.ones(len(target)))
        torch.testing.assert_close(means[number], (first + second) / 2)
        # A pair has the same weights alone.
        (alone,) = subword_attention(models[:1], batch([source], [target]), PAD)
        torch.testing.assert_close(first, alone)
    assert not any(model.decoder.need_attn for model in models)


def test_model_without_attention(build):
    model = build()
    model.decoder.extract_features = lambda *_: (torch.zeros(1, 1, 16), {"attn": [None]})
    with pytest.raises(InputError, match="LRNModel returns no attention: translate without it"):
        subword_attention([model.eval()], batch([[4, EOS]], [[EOS]]), PAD)
