"""Affine maps whose weights can be packed for generation."""

import copy
import io
from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.adam import FairseqAdam

from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.linear import (
    Linear,
    can_pack,
    dropped_weights,
    kernel_rows,
    repack_changed_weights,
)
from fairseq_lrn.ops.checksum import PARTS
from fairseq_lrn.ops.transforms import CAN_TELL_COMPILING
from kernels import needs_int8

ADAM = {
    "lr": [0.1],
    "adam_betas": "(0.9, 0.98)",
    "adam_eps": 1e-8,
    "weight_decay": 0.0,
    "use_old_adam": True,
    "fp16_adam_stats": False,
    "tpu": False,
}
MODULES = {
    "bias": lambda: Linear(20, 50),
    "no bias": lambda: Linear(20, 50, bias=False),
    "affine": lambda: Affine(20, 50),
    "affine, norm": lambda: Affine(20, [20, 30], norm="layer"),
}


needs_packing = pytest.mark.skipif(
    not can_pack(torch.float32), reason="this processor or torch cannot pack float32 weights"
)
needs_bfloat16 = pytest.mark.skipif(
    not can_pack(torch.bfloat16), reason="this processor or torch cannot pack bfloat16 weights"
)


@pytest.fixture(params=MODULES)
def module(request, randomise):
    return randomise(MODULES[request.param]()).eval()


def is_packed(module):
    """Whether the module multiplies by a packed weight."""
    with torch.no_grad():
        return module.packed_weight() is not None


@needs_packing
@pytest.mark.parametrize("shape", [(7, 20), (3, 2, 20), (1, 20), (0, 20)])
def test_the_packed_product_is_the_same(module, shape):
    x = torch.randn(shape)
    expected = module(x)
    module.make_generation_fast_()
    assert is_packed(module)
    with torch.no_grad():
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-5)
        strided = torch.randn(*shape[:-1], 40)[..., ::2]
        torch.testing.assert_close(module(strided), module(strided.contiguous()))


@pytest.mark.parametrize("shape", [(7, 20), (3, 43, 20), (0, 20)])
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.bfloat16, marks=needs_bfloat16),
        pytest.param(torch.int8, marks=needs_int8),
    ],
)
def test_reduced_precision(module, shape, dtype):
    x = torch.randn(shape)
    expected = module(x)
    module.pack(dtype)
    assert is_packed(module)
    with torch.no_grad():
        y = module(x)
    assert y.dtype == torch.float32 and y.shape == expected.shape
    if y.numel() > 0:
        difference = (y - expected).abs().max()
        assert 0 < difference < 0.02 * expected.abs().max()


@needs_int8
def test_8_bits_and_types_other_than_float32():
    double = Linear(20, 64).double()
    double.pack(torch.int8)
    assert not is_packed(double)
    module = Linear(20, 50)
    module.pack(torch.int8)
    with torch.no_grad():
        half = module(torch.randn(3, 20).half())
        assert half.dtype == torch.float16 and half.isfinite().all()


def test_a_changed_weight_is_used(module):
    module.pack()
    x = torch.randn(3, 20)
    with torch.no_grad():
        before = module(x)
        module.weight[:, 0].add_(torch.randn(50))
        after = module(x)
        assert not is_packed(module) and not torch.equal(before, after)
        module.pack()
        torch.testing.assert_close(module(x), after, rtol=0, atol=1e-5)
        module.weight.data = torch.randn(50, 20)
        assert not is_packed(module)
    module.pack()
    other = copy.deepcopy(module.state_dict())
    other["weight"] += 1
    module.load_state_dict(other)
    assert not is_packed(module)


@needs_packing
def test_a_converted_module_keeps_no_copy_of_its_former_weight(module):
    module.pack()
    module.to("cpu")
    assert is_packed(module)
    module.double()
    assert module._packed.weight.numel() == 0 and module.has_packed_copy()
    x = torch.randn(3, 20)
    with torch.no_grad():
        module(x.double())
        module.float()
        repack_changed_weights(module)
        assert is_packed(module)


@needs_packing
def test_a_weight_at_the_address_of_a_former_one():
    """The allocator may place the weight of the second type where the first one was."""
    for width in range(16, 400, 16):
        module = Linear(width, width).eval()
        with torch.no_grad():
            module.pack()
            module.double().float()
            assert module(torch.ones(2, width)).shape == (2, width)


def replace_data(weight, value):
    weight.data = value


@needs_packing
@pytest.mark.parametrize("dtype", [None, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.data.copy_(torch.randn(50, 20)),
        lambda weight: weight.data.mul_(-1),
        lambda weight: weight.data.copy_(weight.data.flip(0)),
        lambda weight: weight.data.copy_(weight.data.flip(1)),
        lambda weight: weight.data[7, 3].add_(0.1),
        lambda weight: weight.data.__setitem__((7, 3), float("nan")),
        lambda weight: replace_data(weight, torch.randn(50, 20)),
        lambda weight: weight.copy_(torch.randn(50, 20)),
    ],
    ids="copied negated rows columns element nan replaced no_grad".split(),
)
def test_a_weight_that_changed_since_the_last_batch_is_packed_again(module, dtype, change):
    """Averages of weights are written into ``data``, of which torch keeps no record."""
    module.pack(dtype)
    x = torch.randn(3, 20)
    with torch.no_grad():
        repack_changed_weights(module)
        unchanged = module.packed_weight()
        repack_changed_weights(module)
        assert module.packed_weight() is unchanged
        change(module.weight)
        repack_changed_weights(module)
        assert module.is_packed_in(dtype) and module.packed_weight() is not unchanged
        fresh = copy.deepcopy(module)
        fresh.pack(dtype)
        torch.testing.assert_close(module(x), fresh(x), rtol=0, atol=0, equal_nan=True)


@needs_packing
def test_one_element_of_a_large_weight_is_noticed_in_time():
    """A batch reads a part of a large weight, the next one another."""
    module = Linear(512, 100).eval()
    for element in [(0, 0), (41, 300), (99, 511)]:
        module.pack()
        with torch.no_grad():
            repack_changed_weights(module)
            before = module.packed_weight()
            module.weight.data[element] += 1
            for _ in range(PARTS):
                repack_changed_weights(module)
            assert module.packed_weight() is not before


@needs_packing
def test_a_type_that_cannot_be_packed_any_more(module):
    module.pack()
    with torch.no_grad():
        repack_changed_weights(module.double())
        assert not module.has_packed_copy()
        assert module(torch.randn(3, 20).double()).dtype == torch.float64


@needs_packing
@pytest.mark.parametrize("pack_first", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize(
    "change", [torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm]
)
def test_computed_weights_are_not_packed(change, pack_first):
    module = Linear(20, 50).eval()
    if pack_first:
        module.pack()
    change(module)
    module.pack()
    assert not is_packed(module)
    x = torch.randn(3, 20)
    with torch.no_grad():
        expected = 2 * module(x) - module.bias
        names = [name for name, _ in module.named_parameters() if name[-2:] in ("_g", "l0")]
        module.get_parameter(names[0]).mul_(2)
        torch.testing.assert_close(module(x), expected)


@needs_packing
def test_packing_has_a_state():
    module = Linear(20, 50)
    assert not module.has_packed_copy()
    module.pack()
    with torch.no_grad():
        assert module.has_packed_copy() and module.is_packed_in(None)
        assert module.is_packed_in(torch.float32) and not module.is_packed_in(torch.bfloat16)
        assert module.fastest_weight() is module.packed_weight()
        module.weight.add_(1)
        # The copy is out of date: it is kept, but not used.
        assert module.has_packed_copy() and not module.is_packed_in(None)
        assert module.fastest_weight() is module.weight
    module.train()
    assert not module.has_packed_copy()


@needs_packing
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: FairseqAdam(SimpleNamespace(**ADAM), parameters).optimizer,
        lambda parameters: torch.optim.Adam(parameters, fused=True, lr=0.1),  # torch 2.4
    ],
)
def test_training_drops_the_packed_weight(module, optimizer):
    """These optimisers change the weight in place without changing its version number."""
    module.pack()
    module.train()
    assert not is_packed(module)
    parameters = list(module.parameters())
    module(torch.randn(3, 20)).square().sum().backward()
    optimizer(parameters).step()
    module.eval()
    x = torch.randn(3, 20)
    with torch.no_grad():
        without_gradients = module(x)
    assert torch.equal(without_gradients, module(x)) and not is_packed(module)


def test_gradients(module):
    x = torch.randn(3, 20, requires_grad=True)
    expected = torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()])
    module.pack()
    grads = torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()])
    assert all(torch.equal(*pair) for pair in zip(grads, expected))


@needs_packing
def test_copies_and_files_are_not_packed(module):
    module.pack()
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    x = torch.randn(3, 20)
    with torch.no_grad():
        for other in (copy.deepcopy(module), loaded):
            assert not is_packed(other)
            torch.testing.assert_close(other(x), module(x), rtol=0, atol=1e-5)
            other.pack()
            assert is_packed(other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_types_that_cannot_be_packed(dtype):
    module = Linear(20, 50).to(dtype)
    module.pack()
    assert not is_packed(module)
    with torch.no_grad():
        assert module(torch.randn(3, 20, dtype=dtype)).dtype == dtype


def test_a_version_of_torch_without_onednn(monkeypatch):
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    module = Linear(20, 50)
    module.pack()
    assert not is_packed(module)


@pytest.mark.skipif(not CAN_TELL_COMPILING, reason="torch before 2.3 makes several graphs")
def test_scripted_traced_and_compiled(module):
    module.pack()
    x = torch.randn(3, 20)
    with torch.no_grad():
        expected = module(x)
        for other in (torch.jit.script(module), torch.jit.trace(module, x)):
            file = io.BytesIO()
            torch.jit.save(other, file)
            file.seek(0)
            loaded = torch.jit.load(file)
            torch.testing.assert_close(loaded(x), expected, rtol=0, atol=1e-5)
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), expected, rtol=0, atol=1e-5)


def test_inference_tensors_are_not_packed():
    """They have no version number, so a change would go unnoticed."""
    with torch.inference_mode():
        module = Linear(20, 50).eval()
        module.pack()
        assert not is_packed(module) and module(torch.randn(2, 20)).shape == (2, 50)


def test_few_different_numbers_of_rows():
    """oneDNN generates a kernel for each of them."""
    padded = [kernel_rows(rows) for rows in range(1, 1025)]
    assert padded[:16] == list(range(1, 17))
    assert all(rows <= result < rows + 64 for rows, result in enumerate(padded, start=1))
    assert len(set(padded)) < 40


def test_dropped_weights_do_not_outlive_an_error():
    maps = [Linear(4, 4), torch.nn.Identity()]  # the second one has no weight
    with pytest.raises(AttributeError), dropped_weights(maps, 0.5):
        pass
    assert maps[0].current_weight() is maps[0].weight
