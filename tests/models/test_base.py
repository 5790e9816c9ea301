"""What all models with a recurrent decoder share: options, sizes and the interface of fairseq."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)

import small_models
from fairseq_lrn.commands.convert import save_for_fairseq
from fairseq_lrn.errors import InputError
from fairseq_lrn.models import RNMTModel, base
from fairseq_lrn.models.base import model_options, register_hub_completion
from fairseq_lrn.models.translation.lrn_config import LRNConfig
from fairseq_lrn.models.translation.rnmt_config import RNMTConfig
from small_models import SMALL_RNMT, dictionary

LENGTHS = [4, 7, 2, 7, 1]
MODELS = pytest.mark.parametrize("name", ["lrn", "lrn_rnmt", "transformer_lrn"])
RECURRENT_ENCODERS = pytest.mark.parametrize("name", ["lrn", "lrn_rnmt"])


@MODELS
def test_max_positions(builders, name):
    model = builders[name](max_source_positions=50, max_target_positions=60)
    assert model.max_positions() == (50, 60)
    assert all(type(n) is int for n in (*model.max_positions(), model.max_decoder_positions()))


@MODELS
def test_no_attention_weights_unless_generation_needs_them(builders, batch, name):
    needed, not_needed = builders[name](), builders[name]()
    needed.make_generation_fast_(need_attn=True)
    not_needed.make_generation_fast_(need_attn=False)
    src, prev = batch(LENGTHS), batch(LENGTHS)
    assert needed(src, None, prev)[1]["attn"][0].shape == (5, 7, 7)
    assert not_needed(src, None, prev)[1]["attn"] == [None]


@MODELS
def test_guided_alignment(task, batch, name):
    """With alignments in the data, training moves the attention to the aligned positions."""
    task.cfg = SimpleNamespace(load_alignments=True)
    model = small_models.builders(task)[name]().train()
    criterion = LabelSmoothedCrossEntropyCriterionWithAlignment(task, False, 0.1, 20.0)
    target = batch(LENGTHS, left=False)
    positions = [(row, column) for row, n in enumerate(LENGTHS) for column in range(n)]
    sample = {
        "net_input": {
            "src_tokens": target,
            "src_lengths": torch.tensor(LENGTHS),
            "prev_output_tokens": target.roll(1, 1),
        },
        "target": target,
        "ntokens": sum(LENGTHS),
        # Every token is aligned with the token at its own place: (row in B*S, row in B*T).
        "alignments": torch.tensor([(column, row * 7 + column) for row, column in positions]),
        "align_weights": torch.ones(len(positions)),
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        loss, _, logging_output = criterion(model, sample)
        losses.append(logging_output["alignment_loss"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    task.cfg.load_alignments = False
    assert model.follow_task(task)(target, None, target)[1]["attn"] == [None]


@MODELS
def test_features_only(builders, batch, name):
    model = builders[name]()
    src, prev = batch(LENGTHS), batch(LENGTHS)
    features, _ = model(src, None, prev, features_only=True)
    assert features.shape == (5, 7, 16)
    assert torch.equal(model.decoder.output_layer(features), model(src, None, prev)[0])


@MODELS
def test_output_table_maps_features_to_logits(builders, batch, name):
    model = builders[name]()
    table, reason = model.decoder.output_table()
    features, _ = model(batch(LENGTHS), None, batch(LENGTHS), features_only=True)
    assert reason == "" and model.decoder.masked_tokens() is None
    torch.testing.assert_close(model.decoder.output_layer(features), features @ table.t())


def test_a_decoder_without_output_table():
    class Decoder(base.RecurrentDecoder):
        pass

    table, reason = Decoder(dictionary(), 9).output_table()
    assert table is None and reason == "Decoder does not name its output matrix"


@RECURRENT_ENCODERS
def test_sentences_of_the_encoder_output(builders, batch, name):
    """Every entry, also the outputs of all layers, has the selected sentences."""
    encoder, src = builders[name]().encoder, batch(LENGTHS)
    order = torch.tensor([3, 0, 0])
    selected = encoder.reorder_encoder_out(encoder(src, return_all_hiddens=True), order)
    expected = encoder(src[order], return_all_hiddens=True)
    assert selected.keys() == expected.keys() and len(selected["encoder_states"]) == 2
    for key, tensors in expected.items():
        torch.testing.assert_close(selected[key], tensors, msg=key)


def test_options_of_kept_layers(task):
    """The caller's options stay as they are."""
    given = LRNConfig(encoder_layers=4, encoder_layers_to_keep="0,3", decoder_layers_to_keep="1")
    cfg = model_options(LRNConfig, given, task)
    assert (cfg.encoder_layers, cfg.decoder_layers) == (2, 1)
    assert (given.encoder_layers, given.decoder_layers) == (4, 2)
    with pytest.raises(ValueError, match="--decoder-layers-to-keep 1 must keep layer 0"):
        model_options(LRNConfig, given, task, keep_first_layer=True)


def test_options_are_checked(task):
    with pytest.raises(ValueError, match="--dropout is a probability"):
        model_options(LRNConfig, LRNConfig(dropout=2.0), task)


def test_shared_embeddings_require_a_joined_dictionary():
    cfg = LRNConfig(share_all_embeddings=True)
    joined = SimpleNamespace(source_dictionary=dictionary(9), target_dictionary=dictionary(9))
    separate = SimpleNamespace(source_dictionary=dictionary(9), target_dictionary=dictionary(8))
    assert model_options(LRNConfig, cfg, joined).share_all_embeddings
    with pytest.raises(ValueError, match="requires a joined dictionary: run fairseq-preprocess"):
        model_options(LRNConfig, cfg, separate)


def test_hub_completion(build_rnmt, monkeypatch, tmp_path):
    """A registered function chooses the checkpoint and sets options of the hub interface."""
    model = build_rnmt()
    save_for_fairseq(model, RNMTConfig(**SMALL_RNMT), "en", "de", str(tmp_path))
    monkeypatch.setattr(base, "_hub_completions", [])

    @register_hub_completion
    def complete(directory, checkpoint_file, options):
        assert (directory, checkpoint_file) == (str(tmp_path), None)
        return "model.pt", {**options, "beam": 7}

    hub = RNMTModel.from_pretrained(str(tmp_path))
    assert hub.cfg.generation.beam == 7
    loaded = hub.models[0].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


@MODELS
def test_a_checkpoint_with_another_dictionary(name):
    def build(size):
        words = dictionary(size)
        task = SimpleNamespace(source_dictionary=words, target_dictionary=words)
        return small_models.builders(task)[name]()

    state = build(30).state_dict()
    build(30).load_state_dict(state)
    with pytest.raises(InputError, match="a dictionary of 34 entries, but the data have one of 44"):
        build(40).load_state_dict(state)


class Configuration(SimpleNamespace):
    """Options of a model of three layers on each side."""

    def __init__(self, **options):
        super().__init__(arch="lrn", encoder_layers=3, decoder_layers=3, **options)


@MODELS
@pytest.mark.parametrize("kept", [("0,2", "0"), ("0,2", None), (None, "0,1")])
def test_pruning_when_a_checkpoint_is_loaded(builders, name, kept):
    """The configuration then describes the pruned model, and a second time prunes nothing."""
    whole = builders[name](encoder_layers=3, decoder_layers=3)
    options = dict(zip(("encoder_layers_to_keep", "decoder_layers_to_keep"), kept))
    model = builders[name](encoder_layers=3, decoder_layers=3, **options)
    counts = [len(layers.split(",")) if layers else 3 for layers in kept]
    for state in (whole.state_dict(), model.state_dict()):
        cfg = Configuration(**options)
        model.load_state_dict(state, strict=True, model_cfg=cfg)
        assert [cfg.encoder_layers, cfg.decoder_layers] == counts
        assert cfg.encoder_layers_to_keep is None and cfg.decoder_layers_to_keep is None
    expected = whole.decoder.layers[1 if kept[1] == "0,1" else 0].state_dict()
    found = model.decoder.layers[-1 if kept[1] else 0].state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
