"""The recurrence as one ``scan`` operator computes what the reference does."""

import importlib.util

import pytest
import torch

from fairseq_lrn.ops.lrn_scan.export import lrn_scan_for_export
from fairseq_lrn.ops.lrn_scan.reference import lrn_scan_reference

has_scan = importlib.util.find_spec("torch._higher_order_ops.scan") is not None


@pytest.mark.skipif(not has_scan, reason="this torch has no scan operator")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("gates", [3, 4])
@torch.no_grad()
def test_equals_the_reference(gates, reverse):
    kqv, h0, bias = torch.randn(4, 3, gates * 5), torch.randn(3, 5), torch.randn(gates * 5)
    for mask in (None, torch.rand(4, 3) < 0.3):
        arguments = (kqv, h0, mask, bias, "tanh", reverse)
        expected = lrn_scan_reference(*arguments)
        torch.testing.assert_close(lrn_scan_for_export(*arguments), expected)
