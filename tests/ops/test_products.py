"""Float32 matrix products in oneDNN against torch's, with gradients and under transforms."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.ops import linear_cross_entropy, products

OLD_TORCH = torch.__version__ < (2, 3)  # its compiler does not fold these conditions
needs_onednn = pytest.mark.skipif(
    not products.has_onednn(), reason="this version of torch lacks oneDNN's products"
)


def use(monkeypatch, name):
    library = products.ProductLibrary(name, "a test")
    monkeypatch.setattr(products, "library_in_use", lambda: library)


@pytest.fixture
def forced(monkeypatch):
    """Multiply in oneDNN, small matrices included."""
    use(monkeypatch, "onednn")
    monkeypatch.setattr(products, "MIN_MULTIPLICATIONS", 1)


@pytest.fixture
def onednn(forced, monkeypatch):
    """As *forced*; returns the shapes of the products."""
    calls = []
    original = torch.ops.mkldnn._linear_pointwise

    def record(x, weight, *rest):
        calls.append((tuple(x.shape), tuple(weight.shape)))
        return original(x, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", record)
    return calls


def operands(bias=True):
    torch.manual_seed(1)
    x, weight = torch.randn(5, 3, 20, requires_grad=True), torch.randn(12, 20, requires_grad=True)
    return [x, weight, *([torch.randn(12, requires_grad=True)] if bias else [])]


def assert_same(ours, theirs):
    for mine, other in zip(ours, theirs):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
def test_agrees_with_torch(onednn, bias):
    inputs = operands(bias)
    grad = torch.randn(5, 3, 12)
    results = []
    for function in (products.linear, F.linear):
        y = function(*inputs)
        results.append([y, *torch.autograd.grad(y, inputs, grad)])
    assert_same(*results)
    # Forward, dX and dW.
    assert onednn == [((5, 3, 20), (12, 20)), ((5, 3, 12), (20, 12)), ((12, 15), (20, 15))]


@needs_onednn
def test_computes_only_the_gradients_that_are_needed(onednn):
    x, weight, _ = operands()
    y = products.linear(x.detach(), weight)
    torch.autograd.grad(y.sum(), weight)
    assert len(onednn) == 2
    with torch.no_grad():
        torch.testing.assert_close(products.linear(x, weight), y.detach())


@needs_onednn
def test_mm(onednn):
    x, weight, _ = (tensor.detach() for tensor in operands())
    for left, right in ((x[0], weight.t()), (weight, x[0].t())):
        torch.testing.assert_close(products.mm(left, right), left @ right)
    assert len(onednn) == 2


@needs_onednn
def test_second_derivatives(onednn):
    results = []
    for function in (products.linear, F.linear):
        inputs = operands()
        (first,) = torch.autograd.grad(function(*inputs).tanh().sum(), inputs[0], create_graph=True)
        results.append(torch.autograd.grad(first.pow(2).sum(), inputs[:2]))
    assert_same(*results)
    assert onednn


@needs_onednn
def test_transforms(onednn):
    """They fall back to torch's product."""
    x, weight, bias = operands()
    y = products.linear(x, weight, bias)
    del onednn[:]
    rows = torch.func.vmap(lambda row: products.linear(row, weight, bias))(x)
    torch.testing.assert_close(rows, y)
    grad = torch.func.grad(lambda x: products.linear(x, weight, bias).sum())(x)
    torch.testing.assert_close(grad, weight.sum(0).expand_as(x).detach())
    assert onednn == []
    directions = torch.randn(4, *y.shape)
    batched = torch.autograd.grad(y, weight, directions, retain_graph=True, is_grads_batched=True)
    single = torch.autograd.grad(y, weight, directions[2])
    torch.testing.assert_close(batched[0][2], single[0], rtol=1e-5, atol=1e-5)


@needs_onednn
def test_compile(forced):
    inputs = operands()
    expected = torch.autograd.grad(products.linear(*inputs).sum(), inputs)
    compiled = torch.compile(products.linear, fullgraph=not OLD_TORCH, backend="aot_eager")
    with torch.profiler.profile() as profile:
        found = torch.autograd.grad(compiled(*inputs).sum(), inputs)
    assert_same(found, expected)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["mkldnn::_linear_pointwise"] == 3


@needs_onednn
@pytest.mark.parametrize(
    "dtype, autocast", [(torch.float64, False), (torch.bfloat16, False), (torch.float32, True)]
)
def test_other_types_stay_in_torch(onednn, dtype, autocast):
    x, weight, bias = (tensor.detach().to(dtype) for tensor in operands())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, expected = products.linear(x, weight, bias), F.linear(x, weight, bias)
    assert torch.equal(found, expected) and found.dtype == expected.dtype
    assert onednn == []


@needs_onednn
def test_small_products_stay_in_torch(onednn, monkeypatch):
    monkeypatch.setattr(products, "MIN_MULTIPLICATIONS", 15 * 20 * 12 + 1)
    products.linear(*operands())
    assert onednn == []


@needs_onednn
def test_modules_multiply_there(onednn):
    layer = Linear(20, 12)
    layer(torch.randn(5, 20)).sum().backward()
    assert len(onednn) == 2  # the input needs no gradient
    torch.testing.assert_close(layer.bias.grad, torch.full((12,), 5.0))


@needs_onednn
@pytest.mark.parametrize("rdrop_alpha", [0.0, 1.0])
def test_loss_multiplies_there(onednn, monkeypatch, rdrop_alpha):
    torch.manual_seed(1)
    x = torch.randn(2 if rdrop_alpha else 1, 40, 16).requires_grad_()
    weight, target = torch.randn(50, 16, requires_grad=True), torch.randint(50, (40,))
    results = []
    for name in ("onednn", "torch"):
        use(monkeypatch, name)
        loss, *_ = linear_cross_entropy(x, weight, target, 0.1, 3, rdrop_alpha)
        results.append([loss, *torch.autograd.grad(loss, (x, weight))])
        assert len(onednn) == 3  # the logits and both gradients; none more with torch
    assert_same(*results)


@pytest.mark.parametrize(
    "requested, vendor, flags, expected",
    [
        ("", "AuthenticAMD", "avx2 avx512f", "onednn"),
        ("auto", "AuthenticAMD", "avx2", "torch"),
        ("", "GenuineIntel", "avx2 avx512f amx_tile", "torch"),
        ("", "", "", "torch"),
        ("onednn", "GenuineIntel", "avx2", "onednn"),
        ("torch", "AuthenticAMD", "avx2 avx512f", "torch"),
    ],
)
def test_choice(monkeypatch, requested, vendor, flags, expected):
    """By vendor and instruction set, unless the environment variable decides."""
    monkeypatch.setenv("FAIRSEQ_LRN_PRODUCTS", requested)
    monkeypatch.setattr(products, "has_onednn", lambda: True)
    monkeypatch.setattr(products, "cpuinfo", {"vendor_id": vendor, "flags": flags}.get)
    assert products.choose_library().name == expected
    monkeypatch.setattr(products, "has_onednn", lambda: False)
    assert products.choose_library().name == "torch"


def test_unknown_library():
    """The import works, so that a command can say what is wrong."""
    environment = {**os.environ, "FAIRSEQ_LRN_PRODUCTS": "mkl"}
    code = "import torch, fairseq_lrn.ops.products as p; print(1); p.linear(*torch.ones(2, 1, 1))"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    message = "FAIRSEQ_LRN_PRODUCTS must be auto, torch or onednn, not mkl"
    assert result.stdout == "1\n"
    assert result.stderr.splitlines()[-1].endswith(f"UnknownSetting: {message}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_onednn(monkeypatch, dtype):
    monkeypatch.setattr(products.torch.ops, "mkldnn", object())  # of a torch without oneDNN
    assert products.onednn_supports(dtype) is False


@needs_onednn
def test_the_layout_of_a_weight():
    weight, x = torch.randn(24, 16).t(), torch.randn(5, 24)
    product = products.onednn_linear(x, products.onednn_layout(weight, rows=5), None)
    torch.testing.assert_close(product, x @ weight.t())
