"""The fused step of a decoder, compared with its layers; see also test_beam_search.py."""

import pytest
import torch

from fairseq_lrn.modules import LRNDecoderLayer, RecurrentStack
from fairseq_lrn.modules.layers import build_decoder_step
from fairseq_lrn.modules.linear import Linear, Packable, can_pack
from fairseq_lrn.ops import DecoderStep, has_decoder_step
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


def build_step(layers, parameters=None, **changes):
    """The fused step of the layers, with some parameters or options changed."""
    cell = layers[0].recurrence.cells[0]
    options = {
        "heads": 4,
        "activation": cell.activation,
        "normalize_before": layers[0].residual.normalize_before,
        "eps": 1e-5,
        "gate_eps": 1e-8,
        "masked_score": -6e4,
    }
    return DecoderStep(parameters or parameters_of(layers), **{**options, **changes})


def parameters_of(layers):
    return [layer.fused_parameters() for layer in layers]


def operands(layers, width=WIDTH, hidden=HIDDEN):
    """x, states, memory and padding mask of a step."""
    rows = HYPOTHESES * SENTENCES
    mask = torch.zeros(SENTENCES, LENGTH, dtype=torch.bool)
    mask[2, 4:] = mask[5, :8] = True
    return [
        torch.randn(rows, width),
        [torch.randn(rows, hidden) for _ in layers],
        [torch.randn(LENGTH, SENTENCES, width) for _ in range(2 * len(layers))],
        mask,
    ]


def step_by_layers(layers, x, states, memory, mask):
    """The same step, layer by layer."""
    width = x.size(1)
    x = x.view(-1, memory[0].size(1), width)  # W x B x C
    x, states = RecurrentStack(layers).step(x, states, memory, mask)
    return x.view(-1, width), states


def test_agrees_with_the_layers(layers):
    given = operands(layers)
    features, states = build_step(layers)(*given)
    expected, expected_states = step_by_layers(layers, *given)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    for state, expected_state in zip(states, expected_states):
        torch.testing.assert_close(state, expected_state, rtol=0, atol=1e-5)


def test_a_layer_without_attention(layers):
    options = {"normalize_before": layers[0].residual.normalize_before}
    cell = layers[0].recurrence.cells[0]
    norm = "layer" if len(cell.projection.norms) > 0 else None
    kind = "olrn" if cell.projection.weight.size(0) == 4 * HIDDEN else "lrn"
    without = LRNDecoderLayer(WIDTH, HIDDEN, kind, None, HIDDEN, norm=norm, **options).eval()
    layers = [layers[0], without]
    x, states, memory, mask = operands(layers)
    given = x, states, memory[:2], mask
    features, next_states = build_decoder_step(RecurrentStack(layers))(*given)
    expected, expected_states = step_by_layers(layers, *given)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(next_states[1], expected_states[1], rtol=0, atol=1e-5)


def test_build_decoder_step(layers):
    """The step that the modules build has the layers' options."""
    given = operands(layers)
    features, _ = build_decoder_step(RecurrentStack(layers))(*given)
    torch.testing.assert_close(features, step_by_layers(layers, *given)[0], rtol=0, atol=1e-5)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="no bfloat16 here")
@pytest.mark.parametrize("hypotheses, sentences", [(5, 1), (1, 17), (2, 65)])
def test_products_in_bfloat16(layers, hypotheses, sentences):
    """Rows are padded to a multiple; the padding must have no influence."""
    rows = hypotheses * sentences
    given = [
        torch.randn(rows, WIDTH),
        [torch.randn(rows, HIDDEN) for _ in layers],
        [torch.randn(LENGTH, sentences, WIDTH) for _ in range(2 * len(layers))],
        None,
    ]
    exact, exact_states = build_step(layers)(*given)
    pack(layers, torch.bfloat16)
    rounded, states = build_step(layers)(*given)
    for result, expected in zip([rounded, *states], [exact, *exact_states]):
        assert result.shape == expected.shape and result.dtype == torch.float32
        error = (result - expected).abs()
        assert 0 < error.max() and error.mean() < 0.02 * expected.abs().mean()


def pack(layers, dtype):
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, Packable):
                module.pack(dtype)


@needs_int8
def test_products_in_8_bits():
    """With all weights in 8 bits, the step and the layers multiply the same numbers."""
    size = 32
    layers = [
        LRNDecoderLayer(size, size, "lrn", size, size, attention_heads=4, ffn_dim=48).eval()
        for _ in range(2)
    ]
    given = operands(layers, size, size)
    given[3] = None
    exact, _ = build_step(layers)(*given)
    pack(layers, torch.int8)
    rounded, _ = build_step(layers)(*given)
    weights = [
        tensor
        for parameters in parameters_of(layers)
        for tensor in parameters.values()
        if tensor is not None and tensor.dim() == 2
    ]
    assert {weight.dtype for weight in weights} == {torch.int8}
    error = (rounded - step_by_layers(layers, *given)[0]).abs().mean()
    difference = (rounded - exact).abs().mean()
    assert 0.001 < difference < 0.1 and error < 0.1 * difference
    layers[1].out_proj = Linear(size + 64, size).eval()
    layers[1].out_proj.pack(torch.int8)
    with pytest.raises(RuntimeError, match=r"must come from a weight 32 x 32"):
        build_step(layers)(*given)


def test_any_number_of_threads():
    layers = [LRNDecoderLayer(256, 256, "lrn", 256, 256, attention_heads=4).eval()]
    rows = 4 * 60
    memory = [torch.randn(30, 60, 256) for _ in range(2)]
    given = [torch.randn(rows, 256), [torch.randn(rows, 256)], memory, None]
    step = build_step(layers)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append(step(*given)[0])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-5)


def test_a_parameter_of_the_wrong_size(layers):
    for name, tensor in parameters_of(layers)[1].items():
        if tensor is None:
            continue
        parameters = parameters_of(layers)
        parameters[1][name] = tensor[..., :-1]
        with pytest.raises(RuntimeError, match="must"):
            build_step(layers, parameters)(*operands(layers))


def test_other_arguments_that_do_not_fit(layers):
    memory = torch.randn(LENGTH, SENTENCES, WIDTH)
    for index, wrong, message in (
        (0, torch.randn(20, WIDTH), "a row for each row of x"),
        (0, torch.randn(21, WIDTH).double(), "x must be N x C, contiguous and float32"),
        (1, [torch.randn(3, HIDDEN)] * 2, "states must be N x H"),
        (1, [torch.randn(21, HIDDEN)], "parameters for each of 1 layers"),
        (2, [memory] * 3, "two memories for each layer with attention"),
        (2, [memory] * 5, "was given 5 memories"),
        (3, torch.zeros(SENTENCES, 2, dtype=torch.bool), "padding_mask must be boolean and B x S"),
    ):
        given = operands(layers)
        given[index] = wrong
        with pytest.raises(RuntimeError, match=message):
            build_step(layers)(*given)
    given = operands(layers)
    rows = torch.randn(20, WIDTH), [torch.randn(20, HIDDEN) for _ in layers]
    with pytest.raises(RuntimeError, match="N a multiple of B"):
        build_step(layers)(*rows, *given[2:])
    with pytest.raises(RuntimeError, match="multiple of the number of heads"):
        build_step(layers, heads=5)(*operands(layers))
