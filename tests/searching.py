"""Helpers for tests of beam search."""

import pytest
import torch

LENGTHS = [4, 17, 2, 7, 1]


def livelier(model):
    """Enlarge the logits of a model, so that sentences end at different steps."""
    with torch.no_grad():
        model.decoder.output_projection.weight.mul_(3.0)
    return model


def sample_of(source):
    """The sample of fairseq for a batch of source sentences."""
    pad = 1
    return {"net_input": {"src_tokens": source, "src_lengths": source.ne(pad).sum(1)}}


def assert_same_hypotheses(found, expected):
    """Compare the hypotheses of two searches, for each sentence."""
    assert [len(hypotheses) for hypotheses in found] == [len(hypotheses) for hypotheses in expected]
    for hypothesis, reference in zip(sum(found, []), sum(expected, [])):
        if hypothesis["tokens"].tolist() != reference["tokens"].tolist():
            # A tie that rounding decides: the same tokens in another order.
            assert sorted(hypothesis["tokens"].tolist()) == sorted(reference["tokens"].tolist())
            assert hypothesis["score"].item() == pytest.approx(reference["score"].item(), rel=1e-6)
            continue
        assert hypothesis.keys() == reference.keys()
        for key in ("score", "positional_scores"):
            value, reference_value = hypothesis[key], reference[key]
            assert value.dtype == reference_value.dtype
            assert value.shape == reference_value.shape
            torch.testing.assert_close(value, reference_value, rtol=2e-6, atol=1e-5)
