"""The fused pass of an encoder, compared with its layers; see also test_lrn_model.py."""

import pytest
import torch

from fairseq_lrn.modules import LRNEncoderLayer, RecurrentStack
from fairseq_lrn.modules.layers import build_encoder_pass
from fairseq_lrn.modules.linear import Packable, can_pack
from fairseq_lrn.ops import EncoderPass
from kernels import needs_cpp, needs_int8

pytestmark = needs_cpp
WIDTH, HIDDEN, LENGTH, SENTENCES = 24, 20, 9, 7
CASES = {
    "post-norm": ("lrn", {"activation": "tanh"}),
    "everything": ("olrn", {"normalize_before": True, "ffn_dim": 30, "norm": "layer"}),
    "identity": ("lrn", {"activation": "identity", "bias": False}),
}


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "cpp")
    with torch.no_grad():
        yield


@pytest.fixture(params=CASES)
def layers(request):
    cell, options = CASES[request.param]
    return build_layers(cell, **options)


def build_layers(cell="lrn", width=WIDTH, hidden=HIDDEN, **options):
    layers = RecurrentStack(LRNEncoderLayer(width, hidden, cell, **options) for _ in range(2))
    for parameter in layers.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layers.eval()


def operands(width=WIDTH):
    mask = torch.zeros(LENGTH, SENTENCES, dtype=torch.bool)
    mask[4:, 2] = mask[:8, 5] = True  # padding on the right, padding on the left
    return torch.randn(LENGTH, SENTENCES, width), mask


def by_layers(layers, x, mask):
    output, states, _ = layers(x, None, mask)
    return output, torch.cat(list(states[-1]), dim=-1)  # 2 x B x H to B x 2H


def assert_agree(layers, x, mask, tolerance=1e-5):
    for result, expected in zip(build_encoder_pass(layers)(x, mask), by_layers(layers, x, mask)):
        assert result.shape == expected.shape
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


def test_agrees_with_the_layers(layers):
    assert_agree(layers, *operands())
    assert_agree(layers, operands()[0], None)
    assert_agree(layers, operands()[0][:1, :1], None)


def pack(layers, dtype):
    for module in layers.modules():
        if isinstance(module, Packable):
            module.pack(dtype)


@pytest.mark.skipif(not can_pack(torch.float32), reason="this torch cannot pack weights")
def test_packed_weights(layers):
    pack(layers, torch.float32)
    assert_agree(layers, *operands())


@needs_int8
def test_products_in_8_bits():
    layers = build_layers(width=32, hidden=32, ffn_dim=48)
    x, mask = operands(32)
    exact = build_encoder_pass(layers)(x, mask)[0]
    pack(layers, torch.int8)
    assert_agree(layers, x, mask, tolerance=1e-4)
    rounded = build_encoder_pass(layers)(x, mask)[0]
    assert 1e-3 < (rounded - exact).abs().mean() < 0.1


def test_one_direction():
    """Without parameters of a second direction, the first one runs alone."""
    layers = build_layers()
    parameters = [layer.fused_parameters() for layer in layers]
    for layer in parameters:
        for name in [name for name in layer if name.startswith("backward")]:
            del layer[name]
        layer["out_weight"] = layer["out_weight"][:, :HIDDEN].contiguous()
    options = {"activation": "tanh", "normalize_before": False, "eps": 1e-5, "gate_eps": 1e-8}
    output, state = EncoderPass(parameters, HIDDEN, **options)(*operands())
    assert output.shape == (LENGTH, SENTENCES, WIDTH) and state.shape == (SENTENCES, HIDDEN)
    x, _ = operands()
    x[4:] += 1
    before = EncoderPass(parameters, HIDDEN, **options)(x[:4].contiguous(), None)[0]
    after = EncoderPass(parameters, HIDDEN, **options)(x, None)[0]
    torch.testing.assert_close(after[:4], before, rtol=0, atol=1e-5)


def test_a_parameter_of_the_wrong_size(layers):
    for name, tensor in layers[1].fused_parameters().items():
        if tensor is None:
            continue
        parameters = [layer.fused_parameters() for layer in layers]
        parameters[1][name] = tensor[..., :-1]
        encoder_pass = EncoderPass(parameters, HIDDEN, "tanh", False, 1e-5, 1e-8)
        with pytest.raises(RuntimeError, match="must"):
            encoder_pass(*operands())


def test_arguments_that_do_not_fit(layers):
    encoder_pass = build_encoder_pass(layers)
    x, mask = operands()
    for given, message in (
        ((x.double(), mask), "x must be T x B x C, contiguous, float32 and not empty"),
        ((x[:0], mask), "not empty"),
        ((x[..., :-1].contiguous(), mask), "must be"),
        ((x, mask[:-1]), "padding_mask must be boolean and T x B"),
    ):
        with pytest.raises(RuntimeError, match=message):
            encoder_pass(*given)


def test_layers_that_the_fused_pass_cannot_compute():
    assert build_encoder_pass(build_layers("gru")) is None
    assert build_encoder_pass(RecurrentStack([])) is None
    different = RecurrentStack([build_layers()[0], build_layers(activation="identity")[0]])
    assert build_encoder_pass(different) is None
    hooked = build_layers()
    hooked[1].out_proj.register_forward_hook(lambda *_: None)
    assert build_encoder_pass(hooked) is None
