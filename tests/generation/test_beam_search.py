"""Our beam search against fairseq's, with every model that has it."""

import math
from argparse import Namespace

import pytest
import torch
from fairseq import search
from fairseq.sequence_generator import SequenceGenerator

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.generation.length_penalty import GNMTSequenceGenerator
from fairseq_lrn.modules import precision
from fairseq_lrn.modules.attention import DotProductAttention
from fairseq_lrn.modules.linear import can_pack
from fairseq_lrn.tasks import LRNTranslationTask
from fairseq_lrn.tasks.translation import LRNTranslationConfig
from kernels import CPP, needs_cpp, needs_int8

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
    # None of the widths is a multiple of a vector's.
    "odd widths": ("lrn", {"decoder_embed_dim": 52, "decoder_hidden_size": 35}),
    "GRU": ("lrn", {"cell": "gru"}),
    "LSTM, layer norm": ("lrn", {"cell": "lstm", "layernorm_projection": True}),
    "hybrid": ("transformer_lrn", {}),
}
LENGTHS = [4, 17, 2, 7, 1]


@pytest.fixture(params=[CPP, "reference"])
def backend(request, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_LRN_BACKEND", request.param)
    return request.param


@pytest.fixture(
    params=[
        pytest.param(
            True,
            id="packed",
            marks=pytest.mark.skipif(not can_pack(torch.float32), reason="torch packs nothing"),
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


def livelier(model):
    """Larger logits, so that sentences end, each in its time."""
    with torch.no_grad():
        model.decoder.output_projection.weight.mul_(3.0)
    return model


def sample_of(source):
    pad = 1
    return {"net_input": {"src_tokens": source, "src_lengths": source.ne(pad).sum(1)}}


def assert_same_hypotheses(ours, theirs):
    assert [len(one) for one in ours] == [len(one) for one in theirs]
    for mine, other in zip(sum(ours, []), sum(theirs, [])):
        if mine["tokens"].tolist() != other["tokens"].tolist():
            # A tie, which the processor's rounding decides: the same pieces in another order.
            assert sorted(mine["tokens"].tolist()) == sorted(other["tokens"].tolist())
            assert mine["score"].item() == pytest.approx(other["score"].item(), rel=1e-6)
            continue
        assert mine.keys() == other.keys()
        for key in ("score", "positional_scores"):
            assert mine[key].dtype == other[key].dtype and mine[key].shape == other[key].shape
            torch.testing.assert_close(mine[key], other[key], rtol=2e-6, atol=1e-5)


@torch.no_grad()
def test_features_are_those_of_the_whole_prefix(model, batch):
    """Two hypotheses for each sentence, which change places, and a sentence that leaves."""
    encoder_out = model.encoder(batch(LENGTHS), None)
    decoder, sentences = model.decoder, len(LENGTHS)
    prefixes = torch.randint(4, 30, (4, 2, sentences))
    prefixes[0] = decoder.dictionary.eos()
    state = decoder.start_search(encoder_out)
    decoder.search_step(prefixes[0, :1], state)
    # Both hypotheses go on from the first one.
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


@needs_cpp
def test_the_step_is_fused_where_it_can_be(builders, batch, monkeypatch):
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


def test_retained_dropout_is_not_left_out(build, batch):
    model = build(dropout=0.5)
    model.make_generation_fast_(
        beamable_mm_beam_size=None, retain_dropout=True, retain_dropout_modules=None
    )
    with torch.no_grad():
        encoder_out = model.encoder(batch(LENGTHS), None)
        tokens = torch.full((1, len(LENGTHS)), 5)
        one, other = (
            model.decoder.search_step(tokens, model.decoder.start_search(encoder_out))
            for _ in range(2)
        )
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 5},
        {"beam_size": 1},
        {"beam_size": 3, "max_len_a": 0.5, "max_len_b": 2},
        {"beam_size": 4, "max_len_b": 12, "min_len": 4, "len_penalty": 0.6},
        {"beam_size": 4, "max_len_b": 9, "normalize_scores": False, "temperature": 0.4},
        {"beam_size": 4, "max_len_b": 9, "unk_penalty": 2.5, "temperature": 1.7},
        {"beam_size": 4, "max_len_b": 9, "unk_penalty": math.inf},
        {"beam_size": 2, "max_len": 6},
    ],
    ids=str,
)
def test_finds_what_fairseqs_search_finds(model, batch, task, options):
    sample = sample_of(batch(LENGTHS))
    dictionary = task.target_dictionary
    ours = RecurrentSequenceGenerator([model], dictionary, **{"max_len_b": 30, **options})
    assert ours.unavailable_reason() == ""
    theirs = SequenceGenerator([model], dictionary, **{"max_len_b": 30, **options})
    found = ours.generate([model], sample)
    assert_same_hypotheses(found, theirs.generate([model], sample))
    assert_same_hypotheses(
        ours.generate([model], sample, bos_token=7), theirs.generate([model], sample, bos_token=7)
    )
    best = [hypotheses[0]["score"].item() for hypotheses in found]
    assert all(math.isfinite(score) for score in best)


def test_hypotheses_end_at_different_steps(build, batch, task):
    """Otherwise the tests above would say little of sentences that leave early."""
    model = livelier(build())
    model.decoder.need_attn = False
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, beam_size=4)
    found = generator.generate([model], sample_of(batch(LENGTHS)))
    last_steps = {max(len(one["tokens"]) for one in hypotheses) for hypotheses in found}
    assert len(last_steps) > 1
    assert any(len({len(one["tokens"]) for one in hypotheses}) > 1 for hypotheses in found)


needs_bfloat16 = pytest.mark.skipif(not can_pack(torch.bfloat16), reason="no bfloat16 here")
IN_FEWER_BITS = [
    pytest.param(torch.bfloat16, id="bfloat16", marks=needs_bfloat16),
    pytest.param(torch.int8, id="int8", marks=needs_int8),
]


# Widths that fill up tiles, as real models have them, and others.
@pytest.mark.parametrize("options", [{"decoder_embed_dim": 64, "decoder_hidden_size": 64}, {}])
@pytest.mark.parametrize("dtype", IN_FEWER_BITS)
def test_generating_in_fewer_bits(build, batch, task, dtype, options):
    model = livelier(build(**options))
    model.decoder.need_attn = False
    dictionary, sample = task.target_dictionary, sample_of(batch(LENGTHS))

    def generate(name):
        config = LRNTranslationConfig(generation_dtype=name)
        translating = LRNTranslationTask(config, dictionary, dictionary)
        generator = translating.build_generator([model], Namespace(beam=4, max_len_b=9))
        found = translating.inference_step(generator, [model], sample)
        return torch.stack([hypotheses[0]["score"] for hypotheses in found])

    name = str(dtype).split(".")[1]
    exact, rounded = generate("float32"), generate(name)
    assert 0 < (rounded - exact).abs().max() < 0.05
    # As what it multiplies with is laid out already, another generator does not do it again.
    packed = model.decoder.output_projection._packed
    assert packed.dtype == dtype
    torch.testing.assert_close(generate(name), rounded)
    assert model.decoder.output_projection._packed is packed
    torch.testing.assert_close(generate("float32"), exact, rtol=0, atol=1e-5)
    generate(name)
    # fairseq's search, layer by layer, multiplies with the same numbers.
    theirs = SequenceGenerator([model], dictionary, beam_size=4, max_len_b=9)
    scores = [hypotheses[0]["score"] for hypotheses in theirs.generate([model], sample)]
    torch.testing.assert_close(torch.stack(scores), rounded, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_where_there_are_no_such_products(build, task, monkeypatch, caplog, name):
    config = LRNTranslationConfig(generation_dtype=name)

    def said(model):
        translating = LRNTranslationTask(config, task.target_dictionary, task.target_dictionary)
        caplog.clear()
        for _ in range(2):
            translating.build_generator([model], Namespace(beam=4))
        return caplog.text

    monkeypatch.setattr(precision, "can_pack", lambda dtype: False)
    warning = f"--generation-dtype {name} has no effect: "
    model = build().eval()
    assert said(model).count(warning + precision.REQUIREMENTS[name]) == 1
    assert said(model.to("meta")).count(warning + "only CPUs support it") == 1
    assert warning + "only models of fairseq_lrn support it" in said(torch.nn.Linear(2, 2).eval())


@needs_int8
def test_weights_that_8_bits_do_not_take(build, task, caplog):
    model, dictionary = build().eval(), task.target_dictionary
    translating = LRNTranslationTask(
        LRNTranslationConfig(generation_dtype="int8"), *2 * [dictionary]
    )
    translating.build_generator([model.double()], Namespace(beam=4))
    assert "has no effect: it needs float32 weights" in caplog.text
    with torch.no_grad():
        model.float().decoder.output_projection.weight[5, 3] = torch.nan
    with pytest.raises(InputError, match="the weights are not finite"):
        translating.build_generator([model], Namespace(beam=4))


def test_gnmt_penalty_through_both_searches(build, batch, task):
    model = build()
    generator = GNMTSequenceGenerator(
        [model], task.target_dictionary, beam_size=4, max_len_b=20, len_penalty=0.8
    )
    sample = sample_of(batch(LENGTHS))
    model.decoder.need_attn = True
    assert generator.unavailable_reason() == "attention weights"
    theirs = generator.generate([model], sample)
    for hypothesis in sum(theirs, []):
        hypothesis["attention"] = torch.empty(0)
    model.decoder.need_attn = False
    assert generator.unavailable_reason() == ""
    assert_same_hypotheses(generator.generate([model], sample), theirs)


def test_leaves_other_searches_to_fairseq(build, build_rnmt, batch, task):
    model, dictionary = build(), task.target_dictionary
    model.decoder.need_attn = False
    sample = sample_of(batch(LENGTHS))

    def reason(models=(model,), arguments=(), **options):
        generator = RecurrentSequenceGenerator(list(models), dictionary, **options)
        return generator.unavailable_reason(*arguments)

    assert reason() == ""
    assert reason([model, build()]) == "an ensemble"
    assert reason([build_rnmt()]) == "a decoder without start_search"
    diverse = search.DiverseBeamSearch(dictionary, 2, 0.5)
    assert reason(search_strategy=diverse) == "a search other than beam search"
    assert reason(no_repeat_ngram_size=2) == "--no-repeat-ngram-size"
    assert reason(lm_model=model) == "a language model"
    assert reason(tokens_to_suppress=("word3",)) == "tokens to suppress"
    assert reason(match_source_len=True) == "--match-source-len"
    assert reason(unk_penalty=-1.0) == "a negative --unkpen"
    assert "vocabulary" in reason(beam_size=20)
    assert reason(arguments=(torch.zeros(5, 1), None)) == "a prefix"
    assert reason(arguments=(None, torch.zeros(5, 1))) == "constraints"
    # And fairseq's search then runs.
    options = {"beam_size": 4, "max_len_b": 20, "no_repeat_ngram_size": 2}
    prefix = torch.full((5, 1), 9)
    ours = RecurrentSequenceGenerator([model], dictionary, **options)
    theirs = SequenceGenerator([model], dictionary, **options)
    found = ours.generate([model], sample, prefix_tokens=prefix)
    assert_same_hypotheses(found, theirs.generate([model], sample, prefix_tokens=prefix))
    assert all(one["tokens"][0] == 9 for one in sum(found, []))


class NoAttention(DotProductAttention):
    def forward(self, query, keys, values, memory_padding_mask=None, need_weights=False):
        return torch.zeros_like(query), None


def test_a_part_of_ones_own_is_not_left_out(build, batch, task):
    model = livelier(build())
    model.decoder.need_attn = False
    for layer in model.decoder.layers:
        layer.encoder_attn.__class__ = NoAttention
    options = {"beam_size": 4, "max_len_b": 20}
    ours, theirs = (
        generator([model], task.target_dictionary, **options)
        for generator in (RecurrentSequenceGenerator, SequenceGenerator)
    )
    sample = sample_of(batch(LENGTHS))
    assert_same_hypotheses(ours.generate([model], sample), theirs.generate([model], sample))


def test_a_model_that_computes_nan(build, batch, task):
    model = build()
    model.decoder.need_attn = False
    with torch.no_grad():
        model.decoder.output_projection.weight.fill_(torch.nan)
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, max_len_b=5)
    with pytest.raises(RuntimeError, match="found no translation of some sentences"):
        generator.generate([model], sample_of(batch(LENGTHS)))


def test_minimum_above_the_maximum(build, batch, task):
    model = build()
    model.decoder.need_attn = False
    generator = RecurrentSequenceGenerator(
        [model], task.target_dictionary, min_len=7, max_len_b=5, max_len_a=0
    )
    with pytest.raises(ValueError, match="--min-len 7 is above the longest translation, 5"):
        generator.generate([model], sample_of(batch(LENGTHS)))


def test_nothing_is_computed_twice_for_hypotheses_of_a_sentence(build, batch, task):
    """The memory of a sentence stays one, whatever the beam."""
    model = livelier(build())
    model.decoder.need_attn = False
    sizes = []
    intact = model.decoder.search_step

    def spy(tokens, state):
        sizes.append({memory.size(1) for memory in state.memory} | {tokens.size(1)})
        return intact(tokens, state)

    model.decoder.search_step = spy
    generator = RecurrentSequenceGenerator([model], task.target_dictionary, beam_size=4)
    generator.generate([model], sample_of(batch(LENGTHS)))
    assert sizes[0] == {len(LENGTHS)} and all(len(one) == 1 for one in sizes)
    assert max(sizes[-1]) < len(LENGTHS)
