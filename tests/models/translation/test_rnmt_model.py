"""The model ``lrn_rnmt``: options, sizes, initial weights. Its results: test_parity.py."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from torch import nn

from fairseq_lrn.models import RNMTModel
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from fairseq_lrn.modules import CELLS
from fairseq_lrn.modules.affine import Affine
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.rnmt_layers import (
    AlignedDecoderLayer,
    AttentiveDecoderLayer,
    ContextAwareEncoderLayer,
    PlainDecoderLayer,
    RNMTEncoderLayer,
)

LENGTHS = [4, 7, 2, 7, 1]
# With 55,320 rows of embeddings, about as many as the paper's vocabularies have.
PARAMETERS = {
    "lrn": 142818433,
    "olrn": 163830913,
    "atr": 121826433,
    "sru": 170181761,
    "gru": 205917313,
    "lstm": 254272641,  # not in the paper's table
}


class Words:
    """A dictionary with a size but without tokens."""

    def __init__(self, size):
        self.symbols = [""] * size

    def __len__(self):
        return len(self.symbols)

    def pad(self):
        return 1

    def bos(self):
        return 0


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_of_the_paper(cell):
    name = f"{cell}_rnmt_wmt_en_de"
    args = Namespace()
    ARCH_CONFIG_REGISTRY[name](args)
    assert ARCH_MODEL_REGISTRY[name] is RNMTModel and args.cell == cell
    task = SimpleNamespace(source_dictionary=Words(25320), target_dictionary=Words(30000))
    with torch.device("meta"):  # tensors without memory
        model = RNMTModel.build_model(RNMTConfig(**vars(args)), task)
    assert all(parameter.is_meta for parameter in model.parameters())
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == PARAMETERS[cell]
    assert len(model.encoder.layers) == len(model.decoder.layers) == 6


def test_kinds_of_layers(build_rnmt):
    def kinds(**options):
        model = build_rnmt(encoder_layers=3, decoder_layers=3, **options)
        return [[type(layer) for layer in side.layers] for side in (model.encoder, model.decoder)]

    forward = [RNMTEncoderLayer] * 2
    attentive = AttentiveDecoderLayer
    assert kinds() == [
        [ContextAwareEncoderLayer, *forward],
        [attentive, AlignedDecoderLayer, AlignedDecoderLayer],
    ]
    assert kinds(no_context_aware_encoder=True) == [
        [RNMTEncoderLayer, *forward],
        [attentive, PlainDecoderLayer, PlainDecoderLayer],
    ]
    assert kinds(deep_attention=True)[1] == [attentive] * 3


def test_every_option_has_an_effect(build_rnmt, batch):
    """With the weights of the default model, as far as they fit."""
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    default = build_rnmt()
    expected = default(src, None, prev)[0]
    for option in (
        *({"cell": cell} for cell in CELLS[1:]),
        {"activation_fn": "tanh"},
        {"attention_heads": 2},
        {"no_context_aware_encoder": True},
        {"deep_attention": True},
        {"no_layer_norm": True},
        {"no_feature_layer": True},
        {"layout": "paper"},
        {"encoder_layers": 1},
        {"decoder_layers": 3},
    ):
        model = build_rnmt(**option)
        own, weights = model.state_dict(), default.state_dict()
        same = {
            name: w for name, w in weights.items() if name in own and own[name].shape == w.shape
        }
        model.load_state_dict(same, strict=False)
        logits = model(src, None, prev)[0]
        assert (logits - expected).abs().max() > 1e-4, option


def test_layouts_agree_if_both_widths_are_equal(build_rnmt, batch):
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    zero, paper = (build_rnmt(embed_dim=20, layout=layout) for layout in ("zero", "paper"))
    paper.load_state_dict(zero.state_dict())
    assert torch.equal(zero(src, None, prev)[0], paper(src, None, prev)[0])


def test_first_input_is_zero_for_any_token(build_rnmt, batch):
    model, src = build_rnmt(), batch([5, 5])
    prev = torch.tensor([[2, 7, 2], [9, 7, 2]])
    logits = model(src[:1].expand(2, -1), None, prev)[0]
    torch.testing.assert_close(logits[0], logits[1])
    seen = []
    model.decoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(src, None, prev)
    first, second, third = seen[0]
    assert first.abs().max() == 0  # no embedding, no bias
    embed = model.decoder.embed_tokens.weight + model.decoder.embed_bias
    assert torch.equal(second, embed[[7, 7]]) and torch.equal(third, embed[[2, 2]])


def test_one_embedding_bias_for_both_languages(build_rnmt):
    model = build_rnmt()
    assert model.encoder.embed_bias is model.decoder.embed_bias
    names = [name for name, _ in model.named_parameters() if "embed_bias" in name]
    assert names == ["encoder.embed_bias"]


def test_sharing(build_rnmt):
    matrices = {}
    for name, options in (
        ("separate", {}),
        ("tied", {"share_decoder_input_output_embed": True}),
        ("all", {"share_all_embeddings": True}),
    ):
        model = build_rnmt(**options)
        matrices[name] = {
            id(model.encoder.embed_tokens.weight),
            id(model.decoder.embed_tokens.weight),
            id(model.decoder.output_projection.weight),
        }
    assert {name: len(ids) for name, ids in matrices.items()} == {
        "separate": 3,
        "tied": 2,
        "all": 1,
    }


@pytest.mark.parametrize("cell", CELLS)
def test_initialisation(build_rnmt, cell):
    model = build_rnmt(cell=cell, init_scale=0.01, embed_dim=64, hidden_size=64, attention_heads=4)
    for module in model.modules():
        if isinstance(module, (Affine, nn.Linear, nn.Embedding)):
            assert module.weight.abs().max() <= 0.01
            if module.weight.numel() > 500:
                assert module.weight.std().item() == pytest.approx(0.01 / 3**0.5, rel=0.1)
            if not isinstance(module, nn.Embedding) and module.bias is not None:
                assert module.bias.abs().max() == 0
        if isinstance(module, nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert module.bias.abs().max() == 0
            assert module.eps == 1e-8
    assert 0 < model.encoder.embed_bias.abs().max() <= 0.01
    if cell == "sru":
        vector = model.encoder.layers[0].forward_recurrence.cells[0].forget_vector
        assert 0 < vector.abs().max() <= 0.01


def test_masked_tokens(build_rnmt, batch, task):
    task.target_dictionary.add_symbol("madeupword0000")
    src, prev = batch([5, 3]), batch([4, 4])
    model = build_rnmt(mask_extra_symbols=True)
    probabilities = model.get_normalized_probs(model(src, None, prev), log_probs=False)
    impossible = (probabilities == 0).all(0).all(0).nonzero().flatten().tolist()
    assert impossible == [0, len(task.target_dictionary) - 1]
    assert model.decoder.masked_tokens().nonzero().flatten().tolist() == impossible
    table, reason = model.decoder.output_table()
    assert table is None and reason == "the model masks tokens (--mask-extra-symbols)"
    open_model = build_rnmt()
    open_model.load_state_dict(model.state_dict())
    logits = open_model(src, None, prev)[0]
    assert logits.isfinite().all() and open_model.decoder.masked_tokens() is None
    masked = model(src, None, prev)[0]
    assert torch.equal(masked[masked.isfinite()], logits[masked.isfinite()])


def test_four_kinds_of_dropout(build_rnmt, batch, monkeypatch):
    """Of source embeddings, target inputs, branches before the residual, and the feature layer."""
    calls = []

    def forward(self, x, inplace=False):
        calls.append((self.p, tuple(x.shape)))
        return x

    monkeypatch.setattr(Dropout, "forward", forward)
    src, prev = batch([6, 4]), batch([3, 3])
    build_rnmt(dropout=0.2)(src, None, prev)
    assert {p for p, _ in calls} == {0.2}
    source, target = [(2, 6, 16), *[(6, 2, 16)] * 2], [(2, 3, 16), *[(3, 2, 16)] * 2]
    assert [shape for _, shape in calls] == [*source, *target, (3, 2, 16)]
    calls.clear()
    # In layout paper, layer 0 has no residual connection, and therefore no dropout of the branch.
    build_rnmt(dropout=0.2, layout="paper")(src, None, prev)
    source, target = [(2, 6, 16), (6, 2, 20)], [(2, 3, 16), (3, 2, 20)]
    assert [shape for _, shape in calls] == [*source, *target, (3, 2, 16)]


def test_layers_to_keep(build_rnmt):
    model = build_rnmt(encoder_layers=3, encoder_layers_to_keep="0,2", decoder_layers_to_keep="0")
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (2, 1)
    with pytest.raises(ValueError, match="must keep layer 0"):
        build_rnmt(decoder_layers=3, decoder_layers_to_keep="1,2")
    for kept in ("0,7", "0,x"):
        with pytest.raises(ValueError, match="must be numbers of layers, from 0 to 2"):
            build_rnmt(encoder_layers=3, encoder_layers_to_keep=kept)
