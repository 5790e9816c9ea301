"""A checksum changes with the contents of a tensor."""

import pytest
import torch

from fairseq_lrn.ops import checksums
from kernels import CPP


@pytest.fixture(params=[CPP, "reference"], autouse=True)
def backend(request, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", request.param)


def checksum(weight):
    return checksums([weight])[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 64), (40, 33)])
def test_every_element_counts(dtype, shape):
    torch.manual_seed(1)
    weight = torch.randn(shape).to(dtype)
    expected = checksum(weight)
    assert torch.equal(checksum(weight.clone()), expected)
    for index in range(weight.numel()):
        changed = weight.clone()
        changed.view(-1)[index] += 1
        assert not torch.equal(checksum(changed), expected), index


def test_order_counts():
    weight = torch.randn(6, 64)
    expected = checksum(weight)
    swapped = [weight.flip(0), weight.flip(1)]
    swapped.append(torch.cat([weight[:, 1:], weight[:, :1]], dim=1))
    for other in swapped:
        assert not torch.equal(checksum(other), expected)


def test_strided_and_parameters():
    weight = torch.nn.Parameter(torch.randn(5, 6))
    assert not checksum(weight).requires_grad
    assert checksum(weight.t()).dim() == 1


def test_several_matrices():
    weights = [torch.randn(3, 4), torch.randn(8, 70), torch.randn(3, 4).t()]
    assert all(map(torch.equal, checksums(weights), map(checksum, weights)))
    assert checksums([]) == []


def test_threads_agree():
    # Threads divide a large matrix, in blocks of 2^18 bytes.
    weight = torch.randn(3, 65536 + 5)
    expected = [checksum(weight)]
    for row, column in [(0, 0), (0, 65536), (1, 7), (2, 65540)]:
        changed = weight.clone()
        changed[row, column] += 1
        expected.append(checksum(changed))
    assert all(not torch.equal(expected[0], other) for other in expected[1:])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads != 3 else 1)
        assert torch.equal(checksum(weight), expected[0])
    finally:
        torch.set_num_threads(threads)


def test_a_model_on_a_gpu_has_none(monkeypatch):
    """No CPU kernel is chosen, which would fail with the backend of GPUs."""
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "triton")
    assert checksums([]) == []
