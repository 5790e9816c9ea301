"""Checks of what a translator is given, limits of length, and batches."""

import math
import sys
from types import SimpleNamespace

import numpy
import pytest
import torch
from fairseq.modules import LearnedPositionalEmbedding

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import (
    batches,
    count,
    items,
    lines_of,
    longest_pair,
    longest_source,
    longest_target,
    real,
)


@pytest.mark.parametrize("iterable", [["a", "b"], ("a", "b"), iter("ab"), {"a": 1, "b": 2}.keys()])
def test_items(iterable):
    assert list(items(iterable)) == ["a", "b"]


@pytest.mark.parametrize("wrong", ["ab", b"ab", None, 3, {"a": 1}])
def test_no_items(wrong):
    with pytest.raises(InputError, match="give a list of sentences, not"):
        items(wrong)


@pytest.mark.parametrize(
    "text, lines",
    [
        ("a", ["a"]),
        ("a\r\n", ["a\r"]),
        ("a\n\n", ["a", "", ""]),
        ("a\u2028b\n c", ["a\u2028b", " c"]),
        ("", [""]),
        (3, [3]),
    ],
)
def test_lines_of(text, lines):
    assert lines_of(text) == lines


def test_count():
    assert count("beam", numpy.int64(3)) == 3
    for wrong in (0, -1, 2.0, "3", None):
        with pytest.raises(InputError, match="beam must be a whole number above 0, not"):
            count("beam", wrong)
    assert count("distance", 0, least=0) == 0
    with pytest.raises(InputError, match="distance must be a whole number of at least 0, not -1"):
        count("distance", -1, least=0)


def test_real():
    for value in (0.5, numpy.float32(0.5), torch.tensor(0.5)):
        assert real(value) == 0.5
    for wrong in ("0.5", b"1", None, [0.5], 1j, 10**400, torch.ones(2), numpy.ones(2)):
        assert math.isnan(real(wrong))


def test_recurrent_models_have_no_limit(build):
    model = build(max_source_positions=20, max_target_positions=20)
    assert longest_source([model]) == 10_000
    assert longest_source([model], 50_000) == 50_000
    assert longest_target([model]) == sys.maxsize
    assert longest_pair([model]) == (10_000, 10_000)
    assert longest_pair([model], 50_000) == (50_000, 50_000)


def test_limits_of_other_models(build, builders):
    """An ensemble is as limited as its most limited model."""
    learned = SimpleNamespace(
        encoder=torch.nn.Sequential(LearnedPositionalEmbedding(22, 8, padding_idx=1)),
        max_decoder_positions=lambda: 30,
    )
    learned.encoder.max_positions = lambda: 1024
    assert longest_source([build(), learned]) == 19
    assert longest_source([learned], 19) == 19
    with pytest.raises(InputError, match="max_source_length=20 exceeds the 19 positions that the"):
        longest_source([build(), learned], 20)
    assert longest_target([build(), learned]) == 30
    assert longest_pair([build(), learned]) == (19, 29)
    with pytest.raises(InputError, match="max_length=20 exceeds the 19 positions that the model"):
        longest_pair([build(), learned], 20)
    learned.max_decoder_positions = lambda: 10
    with pytest.raises(InputError, match="max_length=15 exceeds the 9 positions of the model's"):
        longest_pair([build(), learned], 15)
    # Sinusoidal positions may exceed what the model was built for.
    sinusoidal = builders["transformer_lrn"](max_source_positions=20)
    assert longest_source([sinusoidal]) == 19
    assert longest_source([sinusoidal], 50) == 50


def test_batches():
    assert list(batches([3, 0, 1, 2, 3], 2)) == [[2, 3], [0, 4]]
    # One long sentence does not fill a batch with padding.
    assert list(batches([9000, 10, 300, 10], 2)) == [[1, 3], [2], [0]]
    assert list(batches([200] * 3 + [300] * 3, 4)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batches([], 2)) == []
