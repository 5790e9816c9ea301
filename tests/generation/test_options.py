"""fairseq's options of generation: each has its effect or is refused."""

from dataclasses import fields

import numpy as np
import pytest
from fairseq.dataclass.configs import GenerationConfig
from omegaconf.errors import ReadonlyConfigError

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation import options
from fairseq_lrn.generation.options import REFUSED, SUPPORTED, generation_settings

OTHER_VALUES = {int: 7, float: 0.7, bool: True, str: "x"}


def other_value(field):
    """A value that is not the default of an option."""
    if field.name == "constraints":
        return "ordered"
    if field.name == "print_alignment":
        return "hard"
    if field.name == "decoding_format":
        return "unigram"
    return OTHER_VALUES.get(type(field.default), "x")


def test_every_option_is_supported_or_refused():
    names = {field.name for field in fields(GenerationConfig)} - {"_name"}
    assert names <= {*SUPPORTED, *REFUSED}
    assert not SUPPORTED.keys() & REFUSED.keys()


@pytest.mark.parametrize("field", fields(GenerationConfig), ids=lambda field: field.name)
def test_refused_options(field):
    """At their defaults they change nothing, and are accepted."""
    generation_settings({field.name: field.default})
    if field.name not in SUPPORTED:
        message = f"the generation option {field.name} is not supported: "
        with pytest.raises(InputError, match=message):
            generation_settings({field.name: other_value(field)})


def test_settings_are_made_once():
    settings = generation_settings({"beam": 3, "nbest": 2})
    assert settings.beam == 3 and settings.lenpen == GenerationConfig.lenpen
    assert generation_settings({"nbest": 2, "beam": 3}) is settings
    assert generation_settings({"beam": 4, "nbest": 2}).beam == 4
    with pytest.raises(ReadonlyConfigError):
        settings.beam = 5
    with pytest.raises(InputError, match="invalid generation option"):
        generation_settings({"beam": [3]})  # a value without a hash
    # Equal values of other types are other options.
    assert generation_settings({"match_source_len": True}).match_source_len is True
    with pytest.raises(InputError, match="invalid generation option"):
        generation_settings({"match_source_len": 1.0})


def test_numbers_of_numpy():
    given = {"lenpen": np.float64(0.5), "beam": np.int64(3), "unnormalized": np.bool_(False)}
    assert generation_settings(given) is generation_settings(
        {"lenpen": 0.5, "beam": 3, "unnormalized": False}
    )


def test_an_option_of_a_later_fairseq_is_refused(monkeypatch):
    monkeypatch.delitem(options.REFUSED, "replace_unk")
    with pytest.raises(InputError, match="replace_unk is not supported: this version of fairseq"):
        generation_settings({"replace_unk": "dict"})


@pytest.mark.parametrize(
    "given, message",
    [
        ({"beams": 5}, "beams is not a generation option of fairseq: choose from beam, "),
        ({"lenpen": "long"}, "invalid generation option: .*long"),
        ({"lenpen": float("nan")}, "lenpen must be from -20 to 20, not nan"),
        ({"lenpen": 400}, "lenpen must be from -20 to 20, not 400.0"),
        ({"unkpen": -float("inf")}, "unkpen must be a number above minus infinity, not -inf"),
        ({"temperature": 0}, "temperature must be a finite number above 0, not 0.0"),
        ({"max_len_b": -1}, "max_len_b must be a whole number from 0, not -1"),
        ({"max_len_a": -0.5}, "max_len_a must be a number from 0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be a whole number above 0"),
        ({"sampling": True, "sampling_topp": 1.5}, "sampling_topp must be a number above 0, at m"),
        ({"sampling": True, "sampling_topk": 0}, "sampling_topk must be a whole number above 0"),
        ({"sampling_topk": 3}, "sampling_topk has no effect without sampling"),
        ({"diverse_beam_strength": 0.1}, "has no effect without diverse_beam_groups"),
        ({"diverse_beam_groups": 2}, "diverse_beam_groups=2 must divide beam=5"),
        ({"diversity_rate": -2}, "diversity_rate must be a number above -1"),
        ({"diversity_rate": 0.0, "sampling": True}, "diversity_rate has no effect with sampling"),
        ({"unnormalized": True, "lenpen": 0.5}, "lenpen has no effect with unnormalized"),
        ({"match_source_len": True, "max_len_b": 9}, "max_len_b has no effect with match_source"),
    ],
)
def test_wrong_values(given, message):
    with pytest.raises(InputError, match=message):
        generation_settings(given)
