"""Profiling the searches of an untrained model."""

import torch

from benchmarks import decoding_step
from benchmarks.decoding_step import Profile
from fairseq_lrn.modules.linear import can_pack


def test_profiles(checkpoint, data):
    profiles = decoding_step.measure(data, [("lrn", checkpoint)], [4], rounds=1)
    rounded = [f"ours, {name}" for name in ("bfloat16", "int8") if can_pack(getattr(torch, name))]
    assert [profile.search for profile in profiles] == ["fairseq's", "ours", *rounded]
    for profile in profiles:
        assert (profile.name, profile.batch_size) == ("lrn", 4)
        assert profile.steps > 1 and profile.milliseconds > 0
        assert abs(sum(profile.shares.values()) - 1) < 1e-6 and profile.shares["products"] > 0


def test_searches_take_turns(checkpoint, data, monkeypatch):
    turns = []
    monkeypatch.setattr(decoding_step, "set_matmul_dtype", lambda _, dtype: turns.append(dtype))
    monkeypatch.setattr(
        decoding_step, "ROUNDED_SEARCHES", {"ours, int8": ("translation_lrn", "int8")}
    )
    decoding_step.measure(data, [("lrn", checkpoint)], [2], rounds=2)
    if can_pack(torch.int8):
        assert turns[:6] == 2 * ["float32", "float32", "int8"]


def test_without_the_search_of_this_package(save_model, data):
    lstm = save_model("--arch", "lstm", "--encoder-layers", "1", "--decoder-layers", "1")
    (profile,) = decoding_step.measure(data, [("lstm", lstm)], [2], rounds=1)
    assert profile.search == "fairseq's"


def test_kinds_of_operators():
    kinds = {
        "aten::addmm": "products",
        "fairseq_lrn::lrn_scan": "recurrence, attention, norms",
        "aten::topk": "search, top tokens",
        "aten::copy_": "copies",
        "aten::view": decoding_step.OTHER,
    }
    assert {name: decoding_step._kind(name) for name in kinds} == kinds


def test_table():
    kinds = [*decoding_step.KINDS, decoding_step.OTHER, decoding_step.OUTSIDE]
    shares = {kind: (index + 1) / 100 for index, kind in enumerate(kinds)}
    table = decoding_step.format_table([Profile("lrn", "ours", 8, 20, 1.234, shares)])
    head, _, row = table.splitlines()
    assert head.startswith("| model | search | batch | ms per step | products | ")
    assert row == "| lrn | ours | 8 | 1.23 | 1% | 2% | 3% | 4% | 5% | 6% |"
