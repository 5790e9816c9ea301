"""What the operator refuses, in its own form: lists of directions."""

import pytest
import torch

from fairseq_lrn.ops.lrn_scan.contract import (
    check_backward_call,
    check_contract,
    check_operator_call,
)

T, B, H = 4, 3, 5


def arguments(directions=2, gates=3, **changes):
    given = {
        "kqv": [torch.randn(T, B, gates * H) for _ in range(directions)],
        "h0": torch.randn(directions, B, H),
        "padding_mask": torch.zeros(T, B, dtype=torch.bool),
        "bias": [torch.randn(gates * H) for _ in range(directions)],
        "activation": "tanh",
    }
    return {**given, **changes}


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("gates", [3, 4])
def test_what_fits(directions, gates):
    check_contract(**arguments(directions, gates))
    check_contract(**arguments(directions, gates, padding_mask=None, bias=[]))


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"kqv": []}, ValueError, "a tensor or a pair of tensors, not 0 tensors"),
        ({"kqv": [torch.randn(T, B, 15)] * 3}, ValueError, "not 3 tensors"),
        ({"kqv": [torch.randn(T, B, 15)]}, ValueError, "h0 must be B x H with B=3"),
        ({"kqv": [torch.randn(T, B, 15), torch.randn(T, B, 20)]}, ValueError, "same shape and"),
        ({"kqv": [torch.randn(T, B, 16)] * 2}, ValueError, "3H or 4H with H=5"),
        ({"kqv": [torch.randn(T, 15)] * 2}, ValueError, "3 dimensions"),
        ({"kqv": [torch.ones(T, B, 15, dtype=torch.int64)] * 2}, TypeError, "floating point"),
        ({"kqv": [torch.randn(T, B, 15).to_sparse()] * 2}, TypeError, "tensors must be dense"),
        (
            {"h0": torch.zeros(2, B, H).long()},
            TypeError,
            "h0 must be floating point, not torch.int",
        ),
        ({"h0": torch.zeros(2, B, H).cfloat()}, TypeError, "h0 must be floating point"),
        ({"h0": torch.randn(B, H)}, ValueError, "h0 must be B x H, or 2 x B x H"),
        ({"h0": torch.randn(2, B + 1, H)}, ValueError, "h0 must be 2 x B x H with B=3"),
        ({"h0": torch.randn(2, B, H, device="meta")}, ValueError, "h0 is on meta"),
        ({"padding_mask": torch.zeros(T, B).bool().to_sparse()}, TypeError, "must be dense"),
        ({"padding_mask": torch.zeros(T, B)}, TypeError, "must be boolean"),
        ({"padding_mask": torch.zeros(B, T, dtype=torch.bool)}, ValueError, r"T x B = \(4, 3\)"),
        ({"bias": [torch.randn(15)]}, ValueError, "bias must be a pair of 15 values each"),
        ({"bias": [torch.randn(14)] * 2}, ValueError, "because kqv is 15 wide"),
        ({"activation": "relu"}, ValueError, "activation must be one of"),
    ],
)
def test_what_does_not_fit(changes, error, message):
    given = arguments(**changes)
    with pytest.raises(error, match=message):
        check_contract(**given)
    with pytest.raises(RuntimeError, match=f"fairseq_lrn::lrn_scan: .*{message}"):
        check_operator_call(**given)


def test_backward_call():
    kqv, h0 = [torch.randn(3, 2, 12)], torch.randn(1, 2, 4)
    h = torch.randn(3, 2, 4)
    check_backward_call(h, kqv, h0, None, [], h, "tanh")
    for grad_h, states, message in (
        (h[:2], h, r"grad_h must be \(3, 2, 4\), but its shape is \(2, 2, 4\)"),
        (h, h[..., :3], "states must be"),
        (h.to_sparse(), h, "must be dense"),
        (h.to("meta"), h, "grad_h is on meta, but h0 is on cpu"),
    ):
        with pytest.raises(RuntimeError, match=f"lrn_scan: .*{message}"):
            check_backward_call(grad_h, kqv, h0, None, [], states, "tanh")
