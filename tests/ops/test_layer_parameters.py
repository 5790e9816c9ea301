"""The parameters of a layer by name: what the fused operators check when they are built."""

import pytest
import torch

from fairseq_lrn.modules import LRNDecoderLayer, LRNEncoderLayer
from fairseq_lrn.ops.layer_parameters import flat_parameters
from kernels import needs_cpp

pytestmark = needs_cpp


@pytest.fixture
def parameters(monkeypatch):
    """The parameters of a layer with attention and of one with two directions."""
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", "cpp")
    layers = LRNDecoderLayer(8, 6, "lrn", 8, ffn_dim=9), LRNEncoderLayer(8, 6, "olrn", norm="layer")
    return [layer.fused_parameters() for layer in layers]


def test_order(parameters):
    flat = flat_parameters(parameters)
    names = torch.ops.fairseq_lrn.layer_parameter_names()
    assert len(flat) == 2 * len(names) and names[0] == "gates_weight"
    assert flat[0] is parameters[0]["gates_weight"]
    assert (
        flat[len(names) + names.index("backward_gates_norm_gain")]
        is (parameters[1]["backward_gates_norm_gain"])
    )
    given = [name for layer in parameters for name, tensor in layer.items() if tensor is not None]
    assert set(given) <= set(names) and sum(tensor is not None for tensor in flat) == len(given)


@pytest.mark.parametrize(
    "index, name",
    [
        (0, "gates_weight"),
        (0, "residual_norm_gain"),
        (0, "query_weight"),
        (0, "attention_out_weight"),
        (0, "ffn_in_weight"),
        (0, "ffn_norm_shift"),
        (1, "out_weight"),
    ],
)
@pytest.mark.parametrize("is_none", [True, False])
def test_a_parameter_that_is_missing(parameters, index, name, is_none):
    del parameters[index][name]
    if is_none:
        parameters[index][name] = None
    message = f"layer {index} lacks required parameters: {name}"
    with pytest.raises(ValueError, match=message):
        flat_parameters(parameters)


def test_an_unknown_parameter(parameters):
    parameters[0]["abacus"] = torch.zeros(1)
    with pytest.raises(ValueError, match="layer 0 has unknown parameters: abacus; .*gates_weight"):
        flat_parameters(parameters)
