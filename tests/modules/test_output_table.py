"""Which output layers are a single matrix product."""

import pytest
from torch import nn

from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.output_table import plain_output_table


class Decoder(nn.Module):
    def output_layer(self, features):
        return features


class MaskingDecoder(Decoder):
    def output_layer(self, features):
        return super().output_layer(features).clamp(max=0)


class ScaledLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "projection",
    [nn.Linear(4, 7, bias=False), Linear(4, 7, bias=False), nn.Embedding(7, 4)],
    ids=["nn.Linear", "Linear", "Embedding"],
)
def test_a_matrix_without_bias(projection):
    table, reason = plain_output_table(Decoder(), Decoder.output_layer, projection)
    assert table is projection.weight and reason == ""


@pytest.mark.parametrize(
    "projection",
    [None, nn.Linear(4, 7), nn.Identity(), ScaledLinear(4, 7, bias=False)],
    ids=["None", "bias", "no matrix", "subclass"],
)
def test_a_layer_that_is_not_a_matrix_product(projection):
    table, reason = plain_output_table(Decoder(), Decoder.output_layer, projection)
    assert (
        table is None and reason == "the model's output layer is not a single matrix without bias"
    )


def test_a_subclass_with_its_own_output_layer():
    projection = nn.Linear(4, 7, bias=False)
    table, reason = plain_output_table(MaskingDecoder(), Decoder.output_layer, projection)
    assert table is None and "MaskingDecoder may do more than multiply" in reason


def test_adaptive_softmax():
    decoder = Decoder()
    decoder.adaptive_softmax = nn.Identity()
    table, reason = plain_output_table(decoder, Decoder.output_layer, nn.Linear(4, 7, bias=False))
    assert table is None and reason == "the model has an adaptive softmax"
    decoder.adaptive_softmax = None
    table, _ = plain_output_table(decoder, Decoder.output_layer, nn.Linear(4, 7, bias=False))
    assert table is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda projection: projection.register_forward_hook(lambda *args: None),
        nn.utils.parametrizations.weight_norm,
        nn.utils.spectral_norm,
    ],
)
def test_a_layer_with_hooks_is_called(change):
    projection = Linear(4, 7, bias=False)
    change(projection)
    table, reason = plain_output_table(Decoder(), Decoder.output_layer, projection)
    assert table is None and ("hooks" in reason or "single matrix" in reason)
