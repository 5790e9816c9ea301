"""The fused step of a decoder: its layers are its reference, see also models/test_search.py."""

import pytest
import torch

from fairseq_lrn.modules import LRNDecoderLayer
from fairseq_lrn.modules.linear import Linear, Packable, can_pack
from fairseq_lrn.ops.decoder_step import has_decoder_step
from kernels import needs_cpp, needs_int8

pytestmark = needs_cpp
WIDTH, HIDDEN, SENTENCES, HYPOTHESES, LENGTH = 24, 20, 7, 3, 9


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "cpp")
    assert has_decoder_step(torch.zeros(1))
    with torch.no_grad():
        yield


@pytest.fixture(params=["post-norm", "everything"])
def layers(request):
    options = {"activation": "tanh"}
    if request.param == "everything":
        options = {"normalize_before": True, "ffn_dim": 30, "norm": "layer"}
    cell = "lrn" if request.param == "post-norm" else "olrn"
    layers = [
        LRNDecoderLayer(WIDTH, HIDDEN, cell, WIDTH, HIDDEN, attention_heads=4, **options).eval()
        for _ in range(2)
    ]
    for layer in layers:
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return layers


def operands(layers):
    rows = HYPOTHESES * SENTENCES
    mask = torch.zeros(SENTENCES, LENGTH, dtype=torch.bool)
    mask[2, 4:] = mask[5, :8] = True
    cell = layers[0].recurrence.cells[0]
    return [
        torch.randn(rows, WIDTH),
        [torch.randn(rows, HIDDEN) for _ in layers],
        [torch.randn(LENGTH, SENTENCES, WIDTH) for _ in range(2 * len(layers))],
        mask,
        sum((layer.step_parameters() for layer in layers), []),
        4,
        cell.activation,
        layers[0].residual.normalize_before,
        1e-5,
        1e-8,
        -6e4,
    ]


def test_agrees_with_the_layers(layers):
    given = operands(layers)
    features, states = lrn_decoder_step(*given)
    x, old, memory, mask = given[:4]
    x = x.view(HYPOTHESES, SENTENCES, WIDTH)
    for index, layer in enumerate(layers):
        x, state = layer.step(x, old[index], memory[2 * index], memory[2 * index + 1], mask)
        torch.testing.assert_close(states[index], state, rtol=0, atol=1e-5)
    torch.testing.assert_close(features, x.view(-1, WIDTH), rtol=0, atol=1e-5)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="no bfloat16 here")
@pytest.mark.parametrize("hypotheses, sentences", [(5, 1), (1, 17), (2, 65)])
def test_products_in_bfloat16(layers, hypotheses, sentences):
    """Rows are filled up to a multiple there; what is added must not be seen."""
    given = operands(layers)
    rows = hypotheses * sentences
    given[0] = torch.randn(rows, WIDTH)
    given[1] = [torch.randn(rows, HIDDEN) for _ in layers]
    given[2] = [torch.randn(LENGTH, sentences, WIDTH) for _ in range(2 * len(layers))]
    given[3] = None
    exact, exact_states = lrn_decoder_step(*given)
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, Packable):
                module.pack(torch.bfloat16)
    given[4] = sum((layer.step_parameters() for layer in layers), [])
    rounded, states = lrn_decoder_step(*given)
    for ours, expected in zip([rounded, *states], [exact, *exact_states]):
        assert ours.shape == expected.shape and ours.dtype == torch.float32
        error = (ours - expected).abs()
        assert 0 < error.max() and error.mean() < 0.02 * expected.abs().mean()


@needs_int8
def test_products_in_8_bits():
    """Of all weights; the layers, each by itself, multiply with the same numbers."""
    size = 32
    layers = [
        LRNDecoderLayer(size, size, "lrn", size, size, attention_heads=4, ffn_dim=48).eval()
        for _ in range(2)
    ]
    rows = HYPOTHESES * SENTENCES
    x, old = torch.randn(rows, size), [torch.randn(rows, size) for _ in layers]
    memory = [torch.randn(LENGTH, SENTENCES, size) for _ in range(2 * len(layers))]

    def fused():
        parameters = sum((layer.step_parameters() for layer in layers), [])
        rest = (None, parameters, 4, "tanh", False, 1e-5, 1e-8, -6e4)
        return lrn_decoder_step(x, old, memory, *rest)[0], parameters

    exact, _ = fused()
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, Packable):
                module.pack(torch.int8)
    rounded, parameters = fused()
    assert {one.dtype for one in parameters if one is not None and one.dim() == 2} == {torch.int8}
    y = x.view(HYPOTHESES, SENTENCES, size)
    for index, layer in enumerate(layers):
        y, _ = layer.step(y, old[index], memory[2 * index], memory[2 * index + 1])
    error, difference = (rounded - y.view(-1, size)).abs().mean(), (rounded - exact).abs().mean()
    assert 0.001 < difference < 0.1 and error < 0.1 * difference
    layers[1].out_proj = Linear(size + 64, size).eval()
    layers[1].out_proj.pack(torch.int8)
    with pytest.raises(RuntimeError, match=r"are not those of a weight 32 x 32"):
        fused()


def test_any_number_of_threads(layers):
    layers = [LRNDecoderLayer(256, 256, "lrn", 256, 256, attention_heads=4).eval()]
    rows = 4 * 60
    given = operands(layers)
    given[0], given[1] = torch.randn(rows, 256), [torch.randn(rows, 256)]
    given[2], given[3] = [torch.randn(30, 60, 256) for _ in range(2)], None
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append(lrn_decoder_step(*given)[0])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19])
def test_parameters_that_do_not_fit(layers, index):
    given = operands(layers)
    if given[4][index] is None:
        pytest.skip("this layer has no such parameter")
    given[4][index] = given[4][index][..., :-1]
    with pytest.raises(RuntimeError, match="must"):
        lrn_decoder_step(*given)


def test_other_things_that_do_not_fit(layers):
    for index, wrong, message in (
        (0, torch.randn(20, WIDTH), "N a multiple of B"),
        (0, torch.randn(21, WIDTH).double(), "x must be N x C, contiguous and float32"),
        (1, [torch.randn(3, HIDDEN)] * 2, "states must be N x H"),
        (1, [torch.randn(21, HIDDEN)], "two memories for each of 1 layers"),
        (3, torch.zeros(SENTENCES, 2, dtype=torch.bool), "padding_mask must be boolean and B x S"),
        (5, 5, "states must be N x H"),
    ):
        given = operands(layers)
        given[index] = wrong
        with pytest.raises(RuntimeError, match=message):
            lrn_decoder_step(*given)
    given = operands(layers)
    for index, message in ((0, "must be a matrix"), (6, "is missing"), (8, "must be a matrix")):
        given = operands(layers)
        given[4][index] = None
        with pytest.raises(RuntimeError, match=message):
            lrn_decoder_step(*given)
