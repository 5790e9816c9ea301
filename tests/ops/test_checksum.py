"""A checksum changes with the contents of a tensor."""

import pytest
import torch

from fairseq_lrn.ops import checksums, checksums_of_parts, dispatch
from fairseq_lrn.ops.checksum import PARTS
from kernels import CPP


@pytest.fixture(params=[CPP, "reference"], autouse=True)
def backend(request, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", request.param)


def checksum(weight, part=0):
    return checksums([weight], [part])[0]


def changed_parts(weight, change):
    """The parts whose checksum is another one after the change."""
    before = checksums_of_parts(weight)
    changed = weight.clone()
    change(changed)
    after = checksums_of_parts(changed)
    return [part for part in range(len(before)) if not torch.equal(before[part], after[part])]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_backend_for_gpus(monkeypatch):
    """fairseq's hub prepares a model on the CPU before it moves to a GPU."""
    weight = torch.randn(3, 5)
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "reference")
    expected = checksums_of_parts(weight)
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    torch.testing.assert_close(checksums_of_parts(weight), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 64), (40, 33)])
def test_every_element_counts(dtype, shape):
    torch.manual_seed(1)
    weight = torch.randn(shape).to(dtype)
    assert changed_parts(weight, lambda w: w) == []
    for index in range(weight.numel()):
        assert changed_parts(weight, lambda w, i=index: w.view(-1)[i].add_(1)), index


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("columns", [63, 64, 300, 512, 1000, 2100])
def test_long_rows(dtype, columns):
    """Together the parts have every element; each part has some of each row and column."""
    torch.manual_seed(1)
    weight = torch.randn(300, columns).to(dtype)
    parts = len(checksums_of_parts(weight))
    assert parts == (PARTS if dispatch.choose("cpu") == "cpp" else 1)
    row_bytes = columns * weight.element_size()
    block = next(lines for lines in (16, 8, 4, 2, 1) if 128 * lines <= row_bytes or lines == 1)
    for index in torch.randint(weight.numel(), (20,)).tolist() + [0, weight.numel() - 1]:
        found = changed_parts(weight, lambda w, i=index: w.view(-1)[i].add_(1))
        assert len(found) == max(1, parts // block), index
    for row in (0, 1, 33, 298, 299):
        found = changed_parts(weight, lambda w, row=row: w[row].add_(1))
        assert len(found) == parts, row
    for column in range(0, columns, 37):
        found = changed_parts(weight, lambda w, column=column: w[:, column].add_(1))
        assert len(found) == parts, column
    assert len(changed_parts(weight, lambda w: w.mul_(0.9))) == parts


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
    parts = [3, 15, 0]
    assert all(map(torch.equal, checksums(weights, parts), map(checksum, weights, parts)))
    assert checksums([], []) == []


def test_threads_agree():
    # Threads divide a large matrix, in regions of 2^18 bytes.
    weight = torch.randn(3, 65536 + 5)
    expected = checksums_of_parts(weight)
    for row, column in [(0, 0), (0, 65536), (1, 7), (2, 65540)]:
        assert changed_parts(weight, lambda w, r=row, c=column: w[r, c].add_(1))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads != 3 else 1)
        assert all(map(torch.equal, checksums_of_parts(weight), expected))
    finally:
        torch.set_num_threads(threads)


def test_a_model_on_a_gpu_has_none(monkeypatch):
    """No CPU kernel is chosen, which would fail with the backend of GPUs."""
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "triton")
    assert checksums([], []) == []
