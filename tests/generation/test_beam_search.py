"""The beam search against fairseq's own, with every model that supports it."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq import search
from fairseq.sequence_generator import SequenceGenerator
from torch import nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.models import LRNLanguageModel
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig
from fairseq_lrn.modules.attention import DotProductAttention
from fairseq_lrn.modules.linear import can_pack
from kernels import CPP, needs_cpp
from searching import LENGTHS, assert_same_hypotheses, livelier, sample_of

VARIANTS = {
    "default": ("lrn", {}),
    "oLRN": ("lrn", {"cell": "olrn"}),
    "identity, layer norm": ("lrn", {"activation_fn": "identity", "layernorm_projection": True}),
    "pre-norm, no bias": ("lrn", {"decoder_normalize_before": True, "no_projection_bias": True}),
    "oLRN, layer norm": ("lrn", {"cell": "olrn", "layernorm_projection": True}),
    "feed-forward blocks": ("lrn", {"decoder_ffn_embed_dim": 32, "decoder_layers": 3}),
    "feed-forward, pre-norm": (
        "lrn",
        {"decoder_ffn_embed_dim": 32, "decoder_normalize_before": True},
    ),
    # No width is a multiple of the vector size.
    "odd widths": ("lrn", {"decoder_embed_dim": 52, "decoder_hidden_size": 35}),
    "GRU": ("lrn", {"cell": "gru"}),
    "LSTM, layer norm": ("lrn", {"cell": "lstm", "layernorm_projection": True}),
    "hybrid": ("transformer_lrn", {}),
    "paper": ("lrn_rnmt", {}),
    "paper, oLRN, tanh": ("lrn_rnmt", {"cell": "olrn", "activation_fn": "tanh"}),
    "paper, ATR": ("lrn_rnmt", {"cell": "atr", "activation_fn": "tanh"}),
    "paper, SRU, separate tables": ("lrn_rnmt", {"cell": "sru", "share_all_embeddings": False}),
    "paper, GRU, no layer norm": ("lrn_rnmt", {"cell": "gru", "no_layer_norm": True}),
    "paper, LSTM": ("lrn_rnmt", {"cell": "lstm"}),
    "paper, deep attention": ("lrn_rnmt", {"deep_attention": True, "decoder_layers": 3}),
    "paper, simple": ("lrn_rnmt", {"no_context_aware_encoder": True, "no_feature_layer": True}),
    "paper, masked symbols": ("lrn_rnmt", {"mask_extra_symbols": True}),
}


@pytest.fixture(params=[CPP, "reference"])
def backend(request, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", request.param)
    return request.param


@pytest.fixture(
    params=[
        pytest.param(
            True,
            id="packed",
            marks=pytest.mark.skipif(
                not can_pack(torch.float32), reason="torch cannot pack weights"
            ),
        ),
        pytest.param(False, id="not packed"),
    ]
)
def packed(request):
    return request.param


@pytest.fixture(params=VARIANTS)
def model(request, builders, packed, backend):
    name, options = VARIANTS[request.param]
    model = livelier(builders[name](**options))
    model.decoder.need_attn = False
    if packed:
        model.make_generation_fast_(beamable_mm_beam_size=None)
        projection = model.decoder.output_projection
        with torch.no_grad():
            assert projection.packed_weight() is not None
    return model


@torch.no_grad()
def test_steps_agree_with_the_forward_pass(model, batch):
    """Two hypotheses per sentence, which are swapped, and a sentence that finishes."""
    encoder_out = model.encoder(batch(LENGTHS), None)
    decoder, sentences = model.decoder, len(LENGTHS)
    prefixes = torch.randint(4, 30, (4, 2, sentences))
    prefixes[0] = decoder.dictionary.eos()
    state = decoder.start_search(encoder_out)
    decoder.search_step(prefixes[0, :1], state)
    # Both hypotheses extend the first one.
    state.select(torch.arange(sentences).repeat(2))
    decoder.search_step(prefixes[1], state)
    swapped = torch.arange(2 * sentences).view(2, -1).flip(0).reshape(-1)
    state.select(swapped)
    features = decoder.search_step(prefixes[2].flip(0), state)
    features = features.view(2, sentences, -1).flip(0)
    kept = torch.tensor([0, 1, 3])
    state.select((swapped.view(2, -1)[:, kept]).reshape(-1), kept)
    last = decoder.search_step(prefixes[3][:, kept], state).view(2, 3, -1)
    for hypothesis in range(2):
        whole, _ = decoder(prefixes[:, hypothesis].t(), encoder_out, features_only=True)
        torch.testing.assert_close(features[hypothesis], whole[:, 2], rtol=0, atol=1e-5)
        torch.testing.assert_close(last[hypothesis], whole[kept, 3], rtol=0, atol=1e-5)


def test_an_unusual_default_device(build, task, batch):
    model = livelier(build())
    model.decoder.need_attn = False
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, beam_size=3)
    sample = sample_of(batch(LENGTHS))
    with torch.device("meta"):
        found = generator.generate([model], sample)
    assert_same_hypotheses(found, generator.generate([model], sample))


@torch.no_grad()
@pytest.mark.parametrize("own_search", [True, False])
@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt", "transformer_lrn"])
def test_weights_that_change_between_searches(builders, task, batch, name, own_search):
    """As averages of weights are written: torch keeps no record of it."""
    generators = {True: RecurrentSequenceGenerator, False: SequenceGenerator}
    found = []
    for searched_before in (True, False):
        model = livelier(builders[name]())
        model.decoder.need_attn = False
        search = generators[own_search]([model], task.target_dictionary, beam_size=3, max_len_b=9)
        if searched_before:
            model.make_generation_fast_(beamable_mm_beam_size=None)
            search.generate([model], sample_of(batch(LENGTHS)))
        torch.manual_seed(2)
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
        found.append(search.generate([model], sample_of(batch(LENGTHS))))
    assert_same_hypotheses(*found)


@torch.no_grad()
@pytest.mark.parametrize("name", ["lrn", "transformer_lrn"])
def test_every_hook_is_called(builders, task, batch, name):
    """Neither the fused step nor the packed weights pass by a hook, and the result is the same."""
    model = livelier(builders[name](decoder_ffn_embed_dim=12, encoder_ffn_embed_dim=12))
    model.make_generation_fast_(beamable_mm_beam_size=None)
    generator = RecurrentSequenceGenerator(
        [model], task.target_dictionary, beam_size=3, max_len_b=5
    )
    sample = sample_of(batch(LENGTHS[:2]))
    expected = generator.generate([model], sample)
    # As in fairseq, the search calls the methods of encoder and decoder.
    uncalled = {model, model.encoder, model.decoder}
    for part_name, part in model.named_modules():
        if part in uncalled or isinstance(part, torch.nn.ModuleList):
            continue
        if name == "transformer_lrn" and part_name.startswith("encoder."):
            continue  # fairseq's
        calls = []
        handle = part.register_forward_hook(lambda *args, calls=calls: calls.append(1))
        assert_same_hypotheses(generator.generate([model], sample), expected)
        assert calls, part_name
        handle.remove()


@needs_cpp
@torch.no_grad()
@pytest.mark.parametrize(
    "name, options, fused",
    [
        ("lrn", {}, True),
        ("lrn", {"decoder_normalize_before": True}, True),
        ("transformer_lrn", {"cell": "olrn"}, True),
        ("lrn", {"cell": "gru"}, False),
        ("lrn_rnmt", {}, True),
        ("lrn_rnmt", {"cell": "olrn", "deep_attention": True}, True),
        ("lrn_rnmt", {"no_context_aware_encoder": True, "no_feature_layer": True}, True),
        ("lrn_rnmt", {"no_layer_norm": True}, True),
        ("lrn_rnmt", {"cell": "gru"}, False),
        ("lrn_rnmt", {"mask_extra_symbols": True}, False),
    ],
)
def test_fused_search_is_used_if_it_is_available(builders, batch, name, options, fused):
    model = builders[name](**options)
    source = batch(LENGTHS)
    decoder, encoder_out = model.decoder, model.encoder(source, torch.tensor(LENGTHS))

    def is_fused():
        return decoder.start_search(encoder_out).fused_search is not None

    assert is_fused() == fused
    # Not if somebody changed what the search would not call.
    original = decoder.output_layer
    decoder.output_layer = lambda features: original(features)
    assert not is_fused()
    del decoder.output_layer
    handle = decoder.embed_tokens.register_forward_hook(lambda *_: None)
    assert not is_fused()
    handle.remove()
    assert is_fused() == fused


@needs_cpp
def test_fused_step_is_used_if_it_is_available(builders, batch, monkeypatch):
    for backend, name, options, fused in (
        ("cpp", "lrn", {}, True),
        ("cpp", "transformer_lrn", {"cell": "olrn"}, True),
        ("cpp", "lrn", {"cell": "gru"}, False),
        ("reference", "lrn", {}, False),
    ):
        monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", backend)
        model = builders[name](**options)
        with torch.no_grad():
            state = model.decoder.start_search(model.encoder(batch(LENGTHS), torch.tensor(LENGTHS)))
        assert (state.fused_step is not None) == fused, (backend, name, options)


def test_retained_dropout_is_applied(build, batch):
    model = build(dropout=0.5)
    model.make_generation_fast_(
        beamable_mm_beam_size=None, retain_dropout=True, retain_dropout_modules=None
    )
    with torch.no_grad():
        encoder_out = model.encoder(batch(LENGTHS), None)
        tokens = torch.full((1, len(LENGTHS)), 5)
        first, second = (
            model.decoder.search_step(tokens, model.decoder.start_search(encoder_out))
            for _ in range(2)
        )
    assert not torch.equal(first, second)


SEARCHES = [
    {"beam_size": 5},
    {"beam_size": 4, "max_len_b": 12, "min_len": 4, "len_penalty": 0.6},
    {"beam_size": 1},
    {"beam_size": 3, "max_len_a": 0.5, "max_len_b": 2},
    {"beam_size": 4, "max_len_b": 9, "normalize_scores": False, "temperature": 0.4},
    {"beam_size": 4, "max_len_b": 9, "unk_penalty": 2.5, "temperature": 1.7},
    {"beam_size": 4, "max_len_b": 9, "unk_penalty": math.inf},
    {"beam_size": 2, "max_len": 6},
]
# The options act in the search, the variants in a step: not every pair is needed.
ALL_SEARCHES = ("default", "LSTM, layer norm", "paper", "paper, masked symbols")
PAIRS = [
    (variant, options)
    for variant in VARIANTS
    for options in (SEARCHES if variant in ALL_SEARCHES else SEARCHES[:2])
]


@pytest.mark.parametrize("model, options", PAIRS, indirect=["model"], ids=str)
def test_same_hypotheses_as_fairseqs_search(model, batch, task, options):
    sample = sample_of(batch(LENGTHS))
    dictionary = task.target_dictionary
    generator = RecurrentSequenceGenerator([model], dictionary, **{"max_len_b": 16, **options})
    assert generator.unavailable_reason() == ""
    reference = SequenceGenerator([model], dictionary, **{"max_len_b": 16, **options})
    found = generator.generate([model], sample)
    assert_same_hypotheses(found, reference.generate([model], sample))
    if options is SEARCHES[0]:  # what is next concerns the step of a model, not the search
        unpadded = sample_of(batch([6, 6]))
        assert_same_hypotheses(
            generator.generate([model], unpadded), reference.generate([model], unpadded)
        )
        assert_same_hypotheses(
            generator.generate([model], sample, bos_token=7),
            reference.generate([model], sample, bos_token=7),
        )
    best = [hypotheses[0]["score"].item() for hypotheses in found]
    assert all(math.isfinite(score) for score in best)


def test_hypotheses_end_at_different_steps(build, batch, task):
    """Without this, the tests above would not cover sentences that finish early."""
    model = livelier(build())
    model.decoder.need_attn = False
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, beam_size=4)
    found = generator.generate([model], sample_of(batch(LENGTHS)))
    lengths = [[len(hypothesis["tokens"]) for hypothesis in hypotheses] for hypotheses in found]
    assert len({max(row) for row in lengths}) > 1
    assert any(len(set(row)) > 1 for row in lengths)


def test_fairseqs_search_runs_for_everything_else(build, batch, task):
    model, dictionary = build(), task.target_dictionary
    model.decoder.need_attn = False
    sample = sample_of(batch(LENGTHS))

    def reason(models=(model,), arguments=(), **options):
        generator = RecurrentSequenceGenerator(list(models), dictionary, **options)
        return generator.unavailable_reason(*arguments)

    assert reason() == ""
    assert reason([model, build()]) == "an ensemble"
    other = build()
    other.decoder = nn.Identity()
    generator = RecurrentSequenceGenerator([model], dictionary)
    generator.model.single_model = other
    assert generator.unavailable_reason() == "a decoder without start_search"
    diverse = search.DiverseBeamSearch(dictionary, 2, 0.5)
    assert reason(search_strategy=diverse) == "a search other than beam search"
    assert reason(no_repeat_ngram_size=2) == "--no-repeat-ngram-size"
    assert reason(lm_model=model) == "a language model of another kind"
    assert reason(tokens_to_suppress=("word3",)) == "tokens to suppress"
    assert reason(match_source_len=True) == "--match-source-len"
    assert reason(unk_penalty=-1.0) == "a negative --unkpen"
    assert "vocabulary" in reason(beam_size=20)
    assert reason(arguments=(torch.zeros(5, 1), None)) == "a prefix"
    assert reason(arguments=(None, torch.zeros(5, 1))) == "constraints"
    # fairseq's search runs in these cases.
    options = {"beam_size": 4, "max_len_b": 20, "no_repeat_ngram_size": 2}
    prefix = torch.full((5, 1), 9)
    generator = RecurrentSequenceGenerator([model], dictionary, **options)
    reference = SequenceGenerator([model], dictionary, **options)
    found = generator.generate([model], sample, prefix_tokens=prefix)
    assert_same_hypotheses(found, reference.generate([model], sample, prefix_tokens=prefix))
    assert all(hypothesis["tokens"][0] == 9 for hypothesis in sum(found, []))


class NoAttention(DotProductAttention):
    def forward(self, query, keys, values, memory_padding_mask=None, need_weights=False):
        return torch.zeros_like(query), None


def test_replaced_attention_is_used(build, batch, task):
    model = livelier(build())
    model.decoder.need_attn = False
    for layer in model.decoder.layers:
        layer.encoder_attn.__class__ = NoAttention
    options = {"beam_size": 4, "max_len_b": 20}
    sample = sample_of(batch(LENGTHS))
    found, expected = (
        generator([model], task.target_dictionary, **options).generate([model], sample)
        for generator in (RecurrentSequenceGenerator, SequenceGenerator)
    )
    assert_same_hypotheses(found, expected)


def test_model_that_computes_nan(build, batch, task):
    model = build()
    model.decoder.need_attn = False
    with torch.no_grad():
        model.decoder.output_projection.weight.fill_(torch.nan)
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, max_len_b=5)
    with pytest.raises(InputError, match="found no translation of some sentences"):
        generator.generate([model], sample_of(batch(LENGTHS)))


def test_minimum_above_the_maximum(build, batch, task):
    model = build()
    model.decoder.need_attn = False
    generator = RecurrentSequenceGenerator(
        [model], task.target_dictionary, min_len=7, max_len_b=5, max_len_a=0
    )
    with pytest.raises(ValueError, match="--min-len 7 exceeds the longest translation, 5 tokens"):
        generator.generate([model], sample_of(batch(LENGTHS)))


def test_normalisers_are_computed_once(build, task, monkeypatch):
    """A limit that is meant as none must not cost time in every batch."""
    generator = RecurrentSequenceGenerator([build()], task.target_dictionary, len_penalty=0.7)
    lengths, original = [], generator.normaliser
    monkeypatch.setattr(generator, "normaliser", lambda n: lengths.append(n) or original(n))
    for longest in (5, 9, 3):
        assert generator.normalisers(longest) == [1.0, *(n**0.7 for n in range(1, longest + 1))]
    assert lengths == list(range(1, 10))
    generator.len_penalty = 1.0
    assert generator.normalisers(2) == [1.0, 1.0, 2.0]
    generator.normalize_scores = False
    assert generator.normalisers(2) == [1.0, 1.0, 1.0]


def test_hypotheses_of_a_sentence_share_its_memory(build, batch, task):
    """The memory has one entry per sentence, for any beam, and loses finished sentences."""
    model = livelier(build())
    model.decoder.need_attn = False
    sizes = []
    search_step = model.decoder.search_step

    def recording_step(tokens, state):
        sizes.append({memory.size(1) for memory in state.memory} | {tokens.size(1)})
        return search_step(tokens, state)

    model.decoder.search_step = recording_step
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, beam_size=4)
    generator.generate([model], sample_of(batch(LENGTHS)))
    assert sizes[0] == {len(LENGTHS)} and all(len(size) == 1 for size in sizes)
    assert max(sizes[-1]) < len(LENGTHS)


def language_model(task, **options):
    torch.manual_seed(5)
    config = LRNLanguageModelConfig(decoder_embed_dim=12, decoder_hidden_size=10, **options)
    return livelier(LRNLanguageModel.build_model(config, task)).eval()


FUSIONS = {
    "plain": ({}, {}),
    "mixture, options": (
        {"plain_layers": True, "mixture_of_softmaxes": 2},
        {"temperature": 1.3, "min_len": 3, "unk_penalty": 1.0, "lm_weight": 0.7},
    ),
    "another cell": ({"cell": "gru"}, {"normalize_scores": False, "beam_size": 1}),
}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt"])
def test_shallow_fusion(builders, task, batch, backend, name, fusion):
    """With a language model: the hypotheses and scores of fairseq's search."""
    model = livelier(builders[name]())
    model.decoder.need_attn = False
    lm_options, options = FUSIONS[fusion]
    lm = language_model(task, **lm_options)
    options = {"beam_size": 4, "max_len_b": 15, "lm_weight": 0.4, **options, "lm_model": lm}
    generators = [
        kind([model], task.target_dictionary, **options)
        for kind in (RecurrentSequenceGenerator, SequenceGenerator)
    ]
    assert generators[0].unavailable_reason() == ""
    sample = sample_of(batch(LENGTHS))
    found, expected = (generator.generate([model], sample) for generator in generators)
    assert_same_hypotheses(found, expected)
    options["lm_model"] = None
    without = RecurrentSequenceGenerator([model], task.target_dictionary, **options)
    others = without.generate([model], sample)
    assert any(
        one["tokens"].tolist() != other["tokens"].tolist()
        for one, other in zip(sum(found, []), sum(others, []))
    )


def test_a_negative_weight_of_a_language_model(build, task, batch):
    """What the language model never predicts is barred all the same."""
    model = livelier(build())
    model.decoder.need_attn = False
    options = {"beam_size": 4, "max_len_b": 15, "lm_model": language_model(task)}
    generator = RecurrentSequenceGenerator(
        [model], task.target_dictionary, lm_weight=-0.3, **options
    )
    found = generator.generate([model], sample_of(batch(LENGTHS)))
    tokens = torch.cat([hypothesis["tokens"] for hypothesis in sum(found, [])])
    assert int(tokens.min()) > task.target_dictionary.pad()


def test_a_language_model_without_a_state_of_constant_size(build, task):
    lm = SimpleNamespace(decoder=object(), eval=lambda: None)
    generator = RecurrentSequenceGenerator([build()], task.target_dictionary, lm_model=lm)
    generator.model.single_model.decoder.need_attn = False
    assert generator.unavailable_reason() == "a language model of another kind"
