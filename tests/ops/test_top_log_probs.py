"""The likeliest symbols against torch's log_softmax and topk."""

import pytest
import torch

from fairseq_lrn.ops import top_log_probs
from kernels import CPP


@pytest.fixture(params=[CPP, "reference"], autouse=True)
def backend(request, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", request.param)


@pytest.mark.parametrize("shape, k", [((5, 1), 1), ((3, 63), 13), ((4, 1000), 13), ((700, 129), 3),
                                      ((2, 40), 40), ((2, 2500), 2500), ((0, 9), 4)])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_agrees_with_torch(shape, k, dtype):
    logits = torch.randn(shape).mul(4).to(dtype)
    exact = torch.promote_types(dtype, torch.float32)
    expected = torch.log_softmax(logits.to(exact), -1)
    log_p, symbols = top_log_probs(logits, k)
    assert log_p.dtype == exact and symbols.dtype == torch.int64
    torch.testing.assert_close(log_p, expected.topk(k)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(expected.gather(1, symbols), log_p, rtol=0, atol=1e-5)
    assert all(len(set(row)) == k for row in symbols.tolist())


def test_equal_logits_give_different_symbols():
    log_p, symbols = top_log_probs(torch.zeros(3, 500), 7)
    assert all(len(set(row)) == 7 for row in symbols.tolist())
    torch.testing.assert_close(log_p, torch.full((3, 7), -torch.tensor(500.0).log().item()))


def test_impossible_symbols_and_rows_with_nan():
    logits = torch.randn(4, 300)
    logits[1, 2:] = -torch.inf
    logits[2, 250] = torch.nan
    log_p, symbols = top_log_probs(logits, 5)
    assert set(symbols[1, :2].tolist()) == {0, 1}
    assert log_p[1, :2].isfinite().all() and (log_p[1, 2:] == -torch.inf).all()
    assert (log_p[2] == -torch.inf).all() and ((symbols >= 0) & (symbols < 300)).all()
    torch.testing.assert_close(log_p[3], torch.log_softmax(logits[3], -1).topk(5)[0])


def test_few_possible_symbols():
    """Rows whose last symbols, or nearly all, are impossible."""
    for logits in (
        torch.full((2, 300), -torch.inf),
        torch.full((64, 300), -2e30),
        torch.full((1, 769), -torch.inf),
    ):
        logits[:, ::64] = 0.0
        logits[:, -1] = logits[0, 1]
        for k in (2, 5, 13):
            log_p, symbols = top_log_probs(logits, k)
            assert ((symbols >= 0) & (symbols < logits.size(1))).all()
            assert all(len(set(row)) == k for row in symbols.tolist())
            possible = (logits[0] == 0).sum()
            expected = -possible.log().item()
            assert log_p[:, : min(k, possible)].sub(expected).abs().max() < 1e-5
            assert (log_p[:, possible:] < -1e20).all()


def test_any_number_of_threads():
    logits = torch.randn(700, 129)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append(top_log_probs(logits, 3))
    finally:
        torch.set_num_threads(threads)
    for log_p, symbols in results[1:]:
        assert torch.equal(log_p, results[0][0]) and torch.equal(symbols, results[0][1])


def test_strided_logits():
    logits = torch.randn(6, 2, 80)
    for one, other in zip(top_log_probs(logits[:, 0], 4), top_log_probs(logits[:, 0].clone(), 4)):
        assert torch.equal(one, other)
