"""Timing matrix products in two libraries, at small sizes."""

import pytest

from benchmarks import operator_speed
from benchmarks import products as benchmark
from fairseq_lrn.errors import InputError
from fairseq_lrn.ops import products


@pytest.mark.skipif(not products.has_onednn(), reason="this torch lacks oneDNN's products")
def test_measure(monkeypatch):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    found = benchmark.measure(rounds=1, shapes=[(4, 8, 12)])
    assert [product.product for product in found] == ["x W^T", "dX", "dW"]
    assert all(product.torch_ms > 0 and product.onednn_ms > 0 for product in found)


def test_without_onednn(monkeypatch):
    monkeypatch.setattr(products, "has_onednn", lambda: False)
    with pytest.raises(InputError, match="this version of torch lacks oneDNN's products"):
        benchmark.measure()


def test_table():
    found = [benchmark.Product("dX", (1000, 500, 2000), 4.0, 2.0)]
    head, _, row = benchmark.format_table(found).splitlines()
    assert row == "| 1000, 500, 2000 | dX | 4.00 | 2.00 | 2.00 | 1000 |"
    assert head.count("|") == row.count("|")
