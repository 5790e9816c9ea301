"""The contract of fairseq's encoders and incremental decoders, for every model."""

import re

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

VARIANTS = {
    "lrn": {
        "default": {},
        "oLRN": {"cell": "olrn"},
        "identity, layer norm": {"activation_fn": "identity", "layernorm_projection": True},
        "pre-norm": {"encoder_normalize_before": True, "decoder_normalize_before": True},
        "unequal": {"encoder_layers": 1, "decoder_layers": 3, "encoder_embed_dim": 24},
        "feed-forward blocks": {"encoder_ffn_embed_dim": 24, "decoder_ffn_embed_dim": 32},
        "tied": {"share_all_embeddings": True, "no_projection_bias": True},
        "ATR": {"cell": "atr", "layernorm_projection": True},
        "SRU": {"cell": "sru"},
        "GRU": {"cell": "gru"},
        "LSTM": {"cell": "lstm"},
        "LSTM, layer norm": {"cell": "lstm", "layernorm_projection": True},
    },
    "lrn_rnmt": {
        "default": {},
        "oLRN, no layer norm": {"cell": "olrn", "no_layer_norm": True},
        "deep attention": {"deep_attention": True, "decoder_layers": 3},
        "not context-aware": {"no_context_aware_encoder": True, "decoder_layers": 1},
        "one encoder layer": {"no_context_aware_encoder": True, "encoder_layers": 1},
        "paper": {"layout": "paper", "share_decoder_input_output_embed": True},
        "no feature layer": {"no_feature_layer": True, "mask_extra_symbols": True},
        "ATR": {"cell": "atr"},
        "SRU": {"cell": "sru", "no_context_aware_encoder": True},
        "GRU": {"cell": "gru", "share_all_embeddings": True},
        "LSTM": {"cell": "lstm", "deep_attention": True},
        "LSTM, no layer norm": {"cell": "lstm", "no_layer_norm": True},
    },
    "transformer_lrn": {
        "default": {},
        "pre-norm": {"encoder_normalize_before": True, "decoder_normalize_before": True},
        "unequal": {"encoder_layers": 1, "decoder_layers": 3, "encoder_embed_dim": 24},
        "tied": {"share_all_embeddings": True, "encoder_learned_pos": True},
    },
}
LENGTHS = [4, 7, 2, 7, 1]


@pytest.fixture(
    params=[(name, variant) for name, variants in VARIANTS.items() for variant in variants],
    ids=lambda param: " ".join(param),
)
def model(request, builders):
    name, variant = request.param
    return builders[name](**VARIANTS[name][variant])


def assert_same(actual, expected):
    atol = 1e-10 if actual.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def test_shapes(model, batch, task):
    src, prev = batch(LENGTHS), batch([3, 5, 5, 1, 2], left=False)
    logits, extra = model(src, torch.tensor(LENGTHS), prev)
    assert logits.shape == (5, 5, len(task.target_dictionary))
    assert extra["attn"][0].shape == (5, 5, 7)
    assert (
        model.get_normalized_probs((logits, extra), log_probs=False)
        .sum(-1)
        .allclose(torch.ones(5, 5))
    )


@pytest.mark.parametrize("left", [True, False])
def test_padding_and_batch_have_no_effect(request, model, batch, left):
    name, variant = request.node.callspec.params["model"]
    if VARIANTS[name][variant].get("cell") in ("gru", "lstm"):
        # These cells multiply in each step. The rounding of torch's product of a row depends on the
        # number of rows: on some processors, the differences exceed 1e-5 in float32.
        model = model.double()
    src, prev = batch(LENGTHS, left=left, longest=9), batch(LENGTHS, left=False)
    logits, extra = model(src, torch.tensor(LENGTHS), prev)
    for row, length in enumerate(LENGTHS):
        alone = batch(LENGTHS, left=False)[row : row + 1, :length]
        expected, expected_extra = model(alone, torch.tensor([length]), prev[row : row + 1])
        # The sentence alone has the same target, padding included.
        assert_same(logits[row, :length], expected[0, :length])
        offset = 9 - length if left else 0
        attn = extra["attn"][0][row, :length]
        assert_same(attn[:, offset : offset + length], expected_extra["attn"][0][0, :length])
        # The weights refer to source positions. Their sum is 1, and padding has no weight.
        ones = torch.ones(length, dtype=attn.dtype)
        assert_same(attn.sum(-1), ones)
        assert_same(attn[:, offset : offset + length].sum(-1), ones)


def test_left_padded_target(model, batch):
    lengths = [3, 6, 1]
    src = batch([5, 5, 5])
    right, _ = model(src, None, batch(lengths, left=False))
    left, _ = model(src, None, batch(lengths, left=True))
    for row, length in enumerate(lengths):
        assert_same(left[row, 6 - length :], right[row, :length])


@pytest.mark.parametrize("pieces", [[1] * 6, [4, 1, 1], [6], [2, 3, 1]])
def test_incremental_decoding(model, batch, pieces):
    src, prev = batch(LENGTHS), batch([6] * 5)
    expected, expected_extra = model(src, torch.tensor(LENGTHS), prev)
    encoder_out, state, start = model.encoder(src), {}, 0
    for size in pieces:
        end = start + size
        logits, extra = model.decoder(prev[:, :end], encoder_out, incremental_state=state)
        assert_same(logits, expected[:, start:end])
        assert_same(extra["attn"][0], expected_extra["attn"][0][:, start:end])
        start = end


def test_incremental_decoding_with_the_last_token_only(model, batch):
    src, prev = batch(LENGTHS), batch([6] * 5)
    expected, _ = model(src, None, prev)
    encoder_out, state = model.encoder(src), {}
    for position in range(6):
        logits, _ = model.decoder(
            prev[:, position : position + 1], encoder_out, incremental_state=state
        )
        assert_same(logits[:, 0], expected[:, position])


@pytest.mark.parametrize("pieces", [[1] * 6, [3, 3]])
def test_incremental_decoding_of_left_padded_targets(model, batch, pieces):
    lengths = [3, 6, 1]
    src, prev = batch([5, 5, 5]), batch(lengths, left=True)
    expected, _ = model(src, None, prev)
    encoder_out, state, end, steps = model.encoder(src), {}, 0, []
    for size in pieces:
        end += size
        steps.append(model.decoder(prev[:, :end], encoder_out, incremental_state=state)[0])
    logits = torch.cat(steps, dim=1)
    for row, length in enumerate(lengths):
        assert_same(logits[row, 6 - length :], expected[row, 6 - length :])


@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt"])
@pytest.mark.parametrize("cell", ["lrn", "gru", "lstm"])
def test_an_empty_batch(builders, name, cell):
    """A process of several may have one. (fairseq's transformer encoder cannot read it.)"""
    model, nothing = builders[name](cell=cell), torch.zeros(0, 5, dtype=torch.long)
    logits, _ = model(nothing, None, nothing)
    logits.sum().backward()
    with torch.no_grad():
        assert model(nothing, None, nothing)[0].shape == logits.shape
    assert logits.shape[:2] == (0, 5)


def test_hooks_of_the_stack_run(builders, batch):
    """In generation too."""
    model, calls = builders["lrn"](), []
    model.encoder.layers.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model.encoder(batch(LENGTHS), None)
    assert calls == [1]


class Delegate(torch.nn.Module):
    """Stands in for a layer, and is of another class."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def __getattr__(self, name):
        found = super().__getattr__("layer")
        return found if name == "layer" else getattr(found, name)

    def forward(self, *args, **kwargs):
        return self.layer(*args, **kwargs)


@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt"])
def test_a_replaced_layer(builders, batch, name):
    """The fused search does not know it, so the search calls it."""
    model = builders[name]()
    src, prev = batch(LENGTHS), batch([6] * 5)
    model.make_generation_fast_()
    with torch.no_grad():
        encoder_out = model.encoder(src, None)
        state = model.decoder.start_search(encoder_out)
        expected = model.decoder.search_step(prev[None, :, 0], state)
        model.decoder.layers[0] = Delegate(model.decoder.layers[0])
        state = model.decoder.start_search(encoder_out)
        assert state.fused_step is None and state.fused_search is None
        assert_same(model.decoder.search_step(prev[None, :, 0], state), expected)


@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt"])
@pytest.mark.parametrize("change", ["epsilon", "no shift", "no parameters"])
def test_norms_that_the_fused_operators_lack(builders, batch, name, change):
    """Then the layers run, in generation too."""
    options = {"layernorm_projection": True} if name == "lrn" else {}
    model = builders[name](**options)
    for module in list(model.modules()):
        for child, norm in module.named_children():
            if isinstance(norm, torch.nn.LayerNorm):
                if change == "epsilon":
                    norm.eps = 0.1
                elif child == "layer_norm":
                    size, affine = norm.normalized_shape, change == "no shift"
                    new = torch.nn.LayerNorm(size, elementwise_affine=affine, bias=False)
                    setattr(module, child, new)
    src, prev = batch(LENGTHS), batch([6] * 5)
    expected, _ = model(src, None, prev)
    model.make_generation_fast_()
    with torch.no_grad():
        assert_same(model(src, None, prev)[0], expected)
        state = model.decoder.start_search(model.encoder(src, None))
        for position in range(3):
            features = model.decoder.search_step(prev[None, :, position], state)
            logits = model.decoder.output_layer(features.unsqueeze(0))[0]
            assert_same(logits, expected[:, position])


@pytest.mark.parametrize("order", [[3, 0, 0, 4], [4, 2, 0, 1, 3], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]])
def test_reordering(model, batch, order):
    src, prev = batch(LENGTHS), batch([6] * 5)
    order = torch.tensor(order)
    encoder_out, state = model.encoder(src, return_all_hiddens=True), {}
    model.decoder(prev[:, :3], encoder_out, incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, order)
    encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
    logits, _ = model.decoder(prev[order][:, :4], encoder_out, incremental_state=state)
    expected_out = model.encoder(src[order], return_all_hiddens=True)
    expected, _ = model(src[order], None, prev[order])
    assert_same(logits[:, 0], expected[:, 3])
    expected_out.pop("fc_results", None)  # fairseq's encoder drops this entry when it reorders
    assert encoder_out.keys() == expected_out.keys()
    for key, tensors in encoder_out.items():
        for actual, tensor in zip(tensors, expected_out[key]):
            assert_same(actual, tensor)


def test_callers_may_overwrite_logits(model, batch):
    src, prev = batch(LENGTHS), batch([6] * 5)
    encoder_out, state, spoiled = model.encoder(src), {}, {}
    for end in range(1, 7):
        expected, _ = model.decoder(prev[:, :end], encoder_out, incremental_state=state)
        logits, _ = model.decoder(prev[:, :end], encoder_out, incremental_state=spoiled)
        assert_same(logits, expected)
        logits.zero_()  # fairseq divides logits by the temperature in place


def generate(model, task, src, **options):
    generator = SequenceGenerator([model], task.target_dictionary, max_len_b=12, **options)
    sample = {"net_input": {"src_tokens": src, "src_lengths": src.ne(1).sum(1)}}
    return [hypotheses[0]["tokens"].tolist() for hypotheses in generator(sample)]


def test_generation_is_the_same_at_any_batch_size(model, batch, task):
    model.double()  # in float32, rounding decides between hypotheses with equal scores
    src = batch(LENGTHS)
    together = generate(model, task, src, beam_size=4)
    for row, length in enumerate(LENGTHS):
        alone = generate(model, task, src[row : row + 1, -length:], beam_size=4)
        assert alone == [together[row]]


# One model of each kind and of each way to step: scripting the search takes seconds.
SEARCHED = {
    *(("lrn", variant) for variant in ("default", "GRU", "LSTM, layer norm")),
    *(("lrn_rnmt", variant) for variant in ("default", "deep attention")),
    ("transformer_lrn", "default"),
}


def test_scripting(request, model, batch, task):
    src, prev = batch(LENGTHS), batch([6] * 5)
    expected, _ = model(src, torch.tensor(LENGTHS), prev)
    scripted = torch.jit.script(model)
    assert_same(scripted(src, torch.tensor(LENGTHS), prev)[0], expected)
    if request.node.callspec.params["model"] not in SEARCHED:
        return
    sample = {"net_input": {"src_tokens": src, "src_lengths": torch.tensor(LENGTHS)}}
    ensemble = [model, model]
    generator = SequenceGenerator(ensemble, task.target_dictionary, beam_size=3, max_len_b=8)
    for actual, hypotheses in zip(torch.jit.script(generator)(sample), generator(sample)):
        assert torch.equal(actual[0]["tokens"], hypotheses[0]["tokens"])


@pytest.mark.parametrize("half", ["autocast", "bfloat16", "float16"])
def test_half_precision(model, batch, half):
    """The logits of training and decoding are the logits of float32, rounded."""
    if half == "float16" and not has_float16():
        pytest.skip("this torch has no layer norm in float16 on the CPU")
    src, prev = batch(LENGTHS), batch(LENGTHS, left=False)
    expected, _ = model(src, None, prev)
    dtype = torch.bfloat16 if half == "autocast" else getattr(torch, half)
    if half != "autocast":
        model.to(dtype)
    with torch.autocast("cpu", dtype, enabled=half == "autocast"):
        logits, _ = model(src, None, prev)
        logits.logsumexp(-1).sum().backward()
        encoder_out, cache, steps = model.encoder(src), {}, []
        for end in range(1, 4):
            step, _ = model.decoder(prev[:, :end], encoder_out, incremental_state=cache)
            steps.append(step)
    finite = expected.isfinite() & prev.ne(1)[..., None]
    spread = expected[finite].std()
    for rounded, exact, mask in (
        (logits, expected, finite),
        (torch.cat(steps, dim=1), expected[:, :3], finite[:, :3]),
    ):
        # Layer norm magnifies the rounding of a state that is close to zero, hence the median.
        error = (rounded.float() - exact)[mask].abs().median()
        assert error < (0.01 if half == "float16" else 0.05) * spread
    assert all(parameter.grad.isfinite().all() for _, parameter in trained(model))


def has_float16():
    x = torch.zeros(1, 1, dtype=torch.float16)
    try:
        torch.nn.functional.layer_norm(x, (1,))
    except RuntimeError:
        return False
    return True


def trained(model):
    """Names and parameters, except for the copies in fairseq 0.12.2.

    The transformer encoder of that version has a copy of each weight for torch's fast path. Loading
    a checkpoint sets the copies; training does not.
    """
    for name, parameter in model.named_parameters():
        if not re.fullmatch(r"encoder\.layers\.\d+\.(in_proj|out_proj|fc\d|ln\d)_\w+", name):
            yield name, parameter


def test_training_reaches_every_parameter(model, batch):
    model.train()
    logits, extra = model(batch(LENGTHS), None, batch(LENGTHS, left=False))
    assert extra["attn"] == [None]
    logits.logsumexp(-1).sum().backward()
    unused = [name for name, parameter in trained(model) if parameter.grad is None]
    assert unused == []


@pytest.mark.parametrize("name", ["lrn", "lrn_rnmt"])
def test_an_unusual_default_device(builders, batch, name):
    """Everything is made where the tokens are. (fairseq's transformer encoder does not do so.)"""
    model = builders[name](dropout=0.3)
    src, prev = batch([4, 7, 2]), batch([4, 7, 2], left=False)
    with torch.device("meta"):
        model.train()(src, None, prev)[0].sum().backward()
        encoder_out, state = model.eval().encoder(src, None), {}
        for length in (1, 2):
            logits, _ = model.decoder(prev[:, :length], encoder_out, state)
    assert not logits.is_meta
    assert not any(one.grad.is_meta for one in model.parameters() if one.grad is not None)
