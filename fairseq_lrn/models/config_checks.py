"""Checks of model options. Most raise a ValueError that names the option and the remedy."""

import logging
from typing import Sequence

from fairseq.dataclass import FairseqDataclass

from fairseq_lrn.modules.cells import CELLS_WITH_ACTIVATION
from fairseq_lrn.options import check_minimum, option_name

logger = logging.getLogger(__name__)


def check_counts(config: FairseqDataclass, *names: str) -> None:
    """Refuse values below 1."""
    check_minimum(1, **{name: getattr(config, name) for name in names})


def check_widths(config: FairseqDataclass, *names: str) -> None:
    """Refuse values below 0. The value 0 turns a part off."""
    check_minimum(0, **{name: getattr(config, name) for name in names})


def check_heads(config: FairseqDataclass, width: str, heads: str) -> None:
    """Refuse a number of attention heads that does not divide the width."""
    if getattr(config, width) % getattr(config, heads) != 0:
        raise ValueError(
            f"{option_name(width)} ({getattr(config, width)}) must be divisible by "
            f"{option_name(heads)} ({getattr(config, heads)}); change one of them"
        )


def check_probabilities(config: FairseqDataclass, *names: str) -> None:
    """Refuse values outside [0, 1). None stands for another option's value and passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0.0 <= value < 1.0:
            raise ValueError(
                f"{option_name(name)} is a probability: at least 0 and below 1, not {value}"
            )


def check_activation(config: FairseqDataclass) -> None:
    """Refuse ``--activation-fn`` for a cell that ignores it."""
    default = type(config).activation_fn
    if str(config.activation_fn) != default and str(config.cell) not in CELLS_WITH_ACTIVATION:
        raise ValueError(
            f"--activation-fn {config.activation_fn} applies only to --cell "
            f"{', '.join(CELLS_WITH_ACTIVATION)}; the nonlinearities of --cell {config.cell} are "
            "fixed, so leave --activation-fn out"
        )


def warn_of_no_effect(config: FairseqDataclass, reason: str, *names: str) -> None:
    """Warn of options that were changed and are not used. The value 0 passes: it asks for nothing.

    They are not refused, because an architecture may set them and another option turn them off.

    Args:
        config: options.
        reason: why they are not used, e.g. ``"with --layers 1"``.
        names: names of the options.
    """
    for name in names:
        value = getattr(config, name)
        if value not in (0, getattr(type(config), name)):
            logger.warning("%s %s has no effect %s", option_name(name), value, reason)


def check_choices(config: FairseqDataclass, **choices: Sequence[str]) -> None:
    """Refuse values that are not among the choices.

    The command line refuses them first. Configurations that are made in Python need this check.
    """
    for name, values in choices.items():
        value = str(getattr(config, name))
        if value not in values:
            raise ValueError(f"{option_name(name)} must be one of {tuple(values)}, not {value}")


def check_layers_to_keep(option: str, kept: str, num_layers: int, keep_first: bool) -> None:
    """Refuse a list of kept layers that a stack of *num_layers* layers does not have.

    Args:
        option: name of the option.
        kept: its value, indices of layers joined by commas.
        num_layers: number of layers before pruning.
        keep_first: refuse a list without layer 0.
    """
    layers = kept.split(",")
    if any(not layer.isdecimal() or int(layer) >= num_layers for layer in layers):
        raise ValueError(f"{option} {kept} must be numbers of layers, from 0 to {num_layers - 1}")
    if len(set(map(int, layers))) < len(layers):
        raise ValueError(f"{option} {kept} must name each layer once")
    if keep_first and "0" not in layers:
        raise ValueError(f"{option} {kept} must keep layer 0, which differs from the other layers")
