"""The operator that searches: its checks. tests/generation/test_beam_search.py compares results."""

import pytest
import torch

from fairseq_lrn.ops import BeamSearch, DecoderStep
from kernels import needs_cpp

WIDTH, STATE, VOCABULARY, SENTENCES, LENGTH = 8, 6, 40, 3, 4


def build(vocabulary=VOCABULARY, norm=None, dtype=torch.float32, outputs=None):
    torch.manual_seed(1)
    parameters = {"gates_weight": torch.randn(3 * STATE, WIDTH)}
    parameters["out_weight"] = torch.randn(WIDTH, STATE)
    for name in ("query_weight", "attention_out_weight"):
        parameters[name] = torch.randn(WIDTH, WIDTH)
    for name in ("out_bias", "query_bias", "attention_out_bias"):
        parameters[name] = torch.randn(WIDTH)
    for name in ("residual_norm", "attention_norm"):
        parameters[f"{name}_gain"] = parameters[f"{name}_shift"] = torch.ones(WIDTH)
    step = DecoderStep([parameters], 2, "tanh", False, 1e-5, 1e-8, -1e4)
    table = torch.randn(vocabulary, WIDTH, dtype=dtype)
    output = table if outputs is None else torch.randn(outputs, WIDTH)
    return BeamSearch(step, table, 2.0, norm, output)


def inputs():
    torch.manual_seed(2)
    states = [torch.randn(SENTENCES, STATE)]
    return states, [torch.randn(LENGTH, SENTENCES, WIDTH) for _ in range(2)], None


OPTIONS = {
    "symbols": (2, 2, 1, 3),
    "sizes": (4, 0, 10),
    "temperature": 1.0,
    "unk_penalty": 0.0,
    "normalisers": [1.0] * 12,
}


@needs_cpp
@pytest.mark.parametrize("norm", [None, torch.nn.LayerNorm(WIDTH)])
def test_hypotheses(norm):
    with torch.no_grad():
        found = build(norm=norm)(*inputs(), **OPTIONS)
    assert sorted(one.sentence for one in found) == [0] * 4 + [1] * 4 + [2] * 4
    for _, tokens, scores, total in found:
        assert tokens[-1] == 2 and 1 not in tokens and len(tokens) <= 11
        assert total.item() == pytest.approx(scores.sum().item(), rel=1e-5)


@needs_cpp
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"symbols": (2, 2, 1)}, "four symbols"),
        ({"symbols": (2, 2, 1, 40)}, "symbols must be indices of the vocabulary"),
        ({"sizes": (4, 11, 10)}, "min_len up to longest"),
        ({"sizes": (20, 0, 10)}, "V above 2"),
        ({"normalisers": [1.0]}, "a normaliser for each length"),
    ],
)
def test_wrong_options(changes, message):
    with torch.no_grad(), pytest.raises(RuntimeError, match=message):
        build()(*inputs(), **{**OPTIONS, **changes})


@needs_cpp
def test_wrong_arguments():
    with pytest.raises(ValueError, match="unk_penalty must be at least 0, not -1"):
        build()(*inputs(), **{**OPTIONS, "unk_penalty": -1.0})
    with pytest.raises(ValueError, match="output must have 40 tokens, as the embedding matrix has"):
        build(outputs=60)


@needs_cpp
def test_wrong_tensors():
    states, memory, _ = inputs()
    with torch.no_grad(), pytest.raises(RuntimeError, match="an embedding matrix V x E in float32"):
        build(dtype=torch.float64)(states, memory, None, **OPTIONS)
    with torch.no_grad(), pytest.raises(RuntimeError, match="keys and values must be S x B x C"):
        build()(states, [one[:, :2] for one in memory], None, **OPTIONS)


@needs_cpp
def test_probabilities_that_are_not_finite():
    search = build()
    states, memory, _ = inputs()
    states[0].fill_(torch.nan)
    with torch.no_grad():
        assert search(states, memory, None, **OPTIONS) == []
