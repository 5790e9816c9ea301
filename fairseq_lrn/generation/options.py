"""fairseq's options of generation: those that a translator takes, and why it refuses the others."""

import functools
import math
from typing import Any, Callable, Dict, Mapping, Tuple

import numpy as np
from fairseq.dataclass.configs import GenerationConfig
from omegaconf import DictConfig, OmegaConf

from fairseq_lrn.errors import InputError

MAX_LENPEN = 20  # a length to a larger power is too large a number
# Options with an effect on the translations; for each, the valid values in code and in words.
SUPPORTED: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    "beam": (lambda value: value >= 1, "a whole number above 0"),
    "diverse_beam_groups": (lambda value: value >= 1, "a whole number above 0"),
    "diverse_beam_strength": (math.isfinite, "a finite number"),
    "diversity_rate": (lambda value: -1 < value < math.inf, "a number above -1"),
    "lenpen": (lambda value: abs(value) <= MAX_LENPEN, f"from -{MAX_LENPEN} to {MAX_LENPEN}"),
    "lm_path": (lambda value: True, "a checkpoint of a language model"),
    "lm_weight": (math.isfinite, "a finite number"),
    "match_source_len": (lambda value: True, "a truth value"),
    "max_len_a": (lambda value: 0 <= value < math.inf, "a number from 0"),
    "max_len_b": (lambda value: value >= 0, "a whole number from 0"),
    "min_len": (lambda value: value >= 0, "a whole number from 0"),
    "nbest": (lambda value: value >= 1, "a whole number above 0"),
    "no_repeat_ngram_size": (lambda value: value >= 1, "a whole number above 0"),
    "sampling": (lambda value: True, "a truth value"),
    "sampling_topk": (lambda value: value >= 1, "a whole number above 0"),
    "sampling_topp": (lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "temperature": (lambda value: 0 < value < math.inf, "a finite number above 0"),
    "unkpen": (lambda value: value > -math.inf, "a number above minus infinity"),
    "unnormalized": (lambda value: True, "a truth value"),
}
TWO_PASSES = "the models have one decoder"
REFINEMENT = "it belongs to models that refine a translation iteratively"
COMMAND = "it belongs to the command fairseq-generate"
REFUSED = {
    "beam_mt": TWO_PASSES,
    "constraints": "constraints of the translation cannot be given here; use fairseq-interactive",
    "decoding_format": REFINEMENT,
    "eos_token": COMMAND,
    "iter_decode_eos_penalty": REFINEMENT,
    "iter_decode_force_max_iter": REFINEMENT,
    "iter_decode_max_iter": REFINEMENT,
    "iter_decode_with_beam": REFINEMENT,
    "iter_decode_with_external_reranker": REFINEMENT,
    "lenpen_mt": TWO_PASSES,
    "max_len_a_mt": TWO_PASSES,
    "max_len_b_mt": TWO_PASSES,
    "no_beamable_mm": "it has no effect in fairseq",
    "no_early_stop": "it has no effect in fairseq",
    "no_seed_provided": f"{COMMAND}; call torch.manual_seed before sampling",
    "prefix_size": f"{COMMAND}, which has reference translations",
    "print_alignment": "ask for attention=True, and read the alignment of a translation",
    "print_step": REFINEMENT,
    "replace_unk": f"{COMMAND}; every character of the training text has a subword",
    "retain_dropout": "the models are prepared once, without dropout",
    "retain_dropout_modules": "the models are prepared once, without dropout",
    "retain_iter_history": REFINEMENT,
    "sacrebleu": "score the translations with fairseq-lrn score",
    "score_reference": "call score(sources, translations)",
}
# Options that do nothing without another one.
NEEDED = {
    "lm_weight": "lm_path",
    "diverse_beam_strength": "diverse_beam_groups",
    "sampling_topk": "sampling",
    "sampling_topp": "sampling",
}
# Options of which the first does nothing beside the second.
EXCLUSIVE = (
    ("diverse_beam_groups", "sampling"),
    ("diversity_rate", "diverse_beam_groups"),
    ("diversity_rate", "match_source_len"),
    ("diversity_rate", "sampling"),
    ("lenpen", "unnormalized"),
    ("match_source_len", "diverse_beam_groups"),
    ("match_source_len", "sampling"),
    ("max_len_a", "match_source_len"),
    ("max_len_b", "match_source_len"),
    ("sampling_topk", "sampling_topp"),
)


def generation_settings(options: Mapping[str, Any]) -> DictConfig:
    """fairseq's settings for generation. Every option has its effect, or is refused.

    Args:
        options: values by the names of ``GenerationConfig``. An option at its default counts as not
            given.

    Returns:
        settings that cannot be changed: calls with the same options share them, as OmegaConf takes
        half as long to make them as a translator to translate a short sentence.

    Raises:
        InputError: names an option that is unknown, has no effect or has an invalid value.
    """
    options = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in options.items()
    }
    # With their types, because 1 and True are equal.
    given = tuple((name, type(options[name]), options[name]) for name in sorted(options))
    try:
        hash(given)
    except TypeError:
        return _settings.__wrapped__(given)
    return _settings(given)


@functools.lru_cache(maxsize=64)
def _settings(given: Tuple[Tuple[str, type, Any], ...]) -> DictConfig:
    options = {name: value for name, _, value in given}
    settings = OmegaConf.structured(GenerationConfig)
    for name in sorted(options.keys() - settings.keys()):
        raise InputError(
            f"{name} is not a generation option of fairseq: choose from {', '.join(SUPPORTED)}"
        )
    defaults = settings.copy()
    try:
        settings.update(options)
    except Exception as error:
        raise InputError(f"invalid generation option: {error}") from error
    changed = {name: settings[name] for name in options if settings[name] != defaults[name]}
    for name, value in changed.items():
        _check(name, value)
    _check_combination(changed, options)
    OmegaConf.set_readonly(settings, True)
    return settings


def _check(name: str, value: Any) -> None:
    if name not in SUPPORTED:
        reason = REFUSED.get(name, "this version of fairseq_lrn does not know it")
        raise InputError(f"the generation option {name} is not supported: {reason}")
    is_valid, words = SUPPORTED[name]
    if not is_valid(value):
        raise InputError(f"{name} must be {words}, not {value!r}")


def _check_combination(given: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    # The weight may be given as 0, its default.
    if "lm_path" in given and "lm_weight" not in options:
        raise InputError("lm_path has no effect without lm_weight: give both or none")
    for name, needed in NEEDED.items():
        if name in given and needed not in given:
            raise InputError(f"{name} has no effect without {needed}: give both or none")
    for name, other in EXCLUSIVE:
        if name in given and other in given:
            raise InputError(f"{name} has no effect with {other}: give one of them")
    groups, beam = given.get("diverse_beam_groups", 1), given.get("beam", GenerationConfig.beam)
    if beam % groups != 0:
        raise InputError(f"diverse_beam_groups={groups} must divide beam={beam}")
