"""The unfolded form against the recurrence."""

import pytest
import torch

from fairseq_lrn.ops import lrn_scan
from fairseq_lrn.ops.lrn_scan.unfolded import unfold


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("gates", [3, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_equals_the_recurrence(activation, gates, reverse):
    torch.manual_seed(1)
    kqv = 2 * torch.randn(9, 2, gates * 5, dtype=torch.float64)
    kqv[3, 0] = 0.0
    h0, bias = torch.randn(2, 5, dtype=torch.float64), torch.randn(gates * 5, dtype=torch.float64)
    bias[5 * 2 : 5 * 3] = 0.0
    expected = lrn_scan(kqv, h0, bias=bias, activation=activation, reverse=reverse)
    unfolded = unfold(kqv, h0, bias, activation, reverse)
    torch.testing.assert_close(unfolded.states, expected)
    torch.testing.assert_close(unfolded.sum(h0), expected)
    # Nothing of later steps (of earlier ones, backwards); all of this step is in the input gate.
    for t in range(9):
        unseen = range(t) if reverse else range(t + 1, 9)
        assert not unfolded.weights[t, list(unseen)].any()
        assert (unfolded.forget_chains[t, t] == 1).all()
        torch.testing.assert_close(unfolded.weights[t, t], unfolded.input_gates[t])
    assert (unfolded.weights >= 0).all() and (unfolded.forget_chains <= 1).all()


def test_nothing_to_shrink():
    """tanh(0) / 0 is 1."""
    unfolded = unfold(torch.zeros(3, 1, 6), torch.zeros(1, 2))
    torch.testing.assert_close(unfolded.input_gates, torch.full((3, 1, 2), 0.5))


def test_wrong_arguments():
    kqv, h0 = torch.randn(4, 2, 9), torch.randn(2, 3)
    with pytest.raises(ValueError, match="activation must be one of"):
        unfold(kqv, h0, activation="Tanh")
    with pytest.raises(ValueError, match="kqv must have at least one step"):
        unfold(kqv[:0], h0)
