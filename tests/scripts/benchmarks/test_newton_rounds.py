"""Counting the rounds of Newton's method."""

import math

import pytest
import torch

from benchmarks import newton_rounds
from benchmarks.newton_rounds import Device, Rounds, loop_seconds, parallel_seconds
from fairseq_lrn.errors import InputError


def test_random_inputs():
    found = newton_rounds.measure_random([130])
    assert [one.activation for one in found] == 4 * ["tanh"] + 4 * ["identity"]
    assert [round(one.spread) for one in found[2:4]] == [2, 4]
    for one in found[:4]:
        assert 3 < one.rounds["steps, zero"][0] < 8  # Newton's method squares its error
        assert 1 <= one.rounds["64, warm-up"][0] <= one.rounds["64, zero"][0] <= 2.5
        assert {left for _, _, left in one.rounds.values()} == {0.0}
        assert "steps, layer below" not in one.rounds


@pytest.mark.skipif(torch.__version__ < (2, 6), reason="this torch has no operator to record")
def test_model(checkpoint, data):
    found = newton_rounds.measure_model("lrn", checkpoint, str(data), [70])
    assert [one.inputs for one in found[:2]] == ["lrn, 1", "lrn, 2"]
    assert {one.time for one in found} == {70}
    assert "steps, layer below" in found[-1].rounds


def test_bad_model(checkpoint, data):
    with pytest.raises(InputError, match="absent.pt does not exist"):
        newton_rounds.measure_model("lrn", "absent.pt", str(data), [70])
    with pytest.raises(InputError, match="has [0-9]+ tokens: give lengths up to that, not 1000000"):
        newton_rounds.measure_model("lrn", checkpoint, str(data), [1000000])


def test_table():
    rounds = {name: (1.25, 3, 0.0) for name in newton_rounds.METHODS}
    rounds["64, zero"], rounds["64, warm-up"] = (5.0, 9, 0.5), (math.nan, 0, 1.0)
    del rounds["steps, layer below"]
    table = newton_rounds.format_table([Rounds("lrn, 1", "tanh", 70, 0.987, rounds)])
    head, _, row = table.splitlines()
    assert head.count("|") == row.count("|")
    assert row.startswith("| lrn, 1 | tanh | 70 | 0.99 | 1.2 (3) | 1.2 (3) |  | 5.0 (9), 50% left")
    assert "| none |" in row


def test_estimated_times():
    """Few lanes wait for their steps, which run at once in parallel; many wait for memory."""
    device = Device(bandwidth=1e12, step=1e-7, launch=0.0)
    assert loop_seconds(device, 1000, 1) == pytest.approx(2 * 1000 * 1e-7)
    assert loop_seconds(device, 1000, 10**6) == pytest.approx(12 * 4 * 1e9 / 1e12)
    assert parallel_seconds(device, 16384, 1) < 0.1 * loop_seconds(device, 16384, 1)
    table = newton_rounds.cost_table(device, 16384, [1, 10**6])
    few, many = (row.split("|") for row in table.splitlines()[2:])
    assert float(few[4]) > 10 and int(few[5].replace(",", "")) < 16384
    assert float(many[4]) < 1 and many[5].strip() == "never"
