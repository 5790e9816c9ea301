"""Checks of model options. Each raises a ValueError that names the option and the remedy."""

from typing import Sequence

from fairseq.dataclass import FairseqDataclass

from fairseq_lrn.modules.cells import CELLS_WITH_ACTIVATION


def check_counts(config: FairseqDataclass, *names: str) -> None:
    """Refuse numbers below 1."""
    for name in names:
        value = getattr(config, name)
        if value < 1:
            raise ValueError(f"{option_name(name)} must be at least 1, not {value}")


def check_widths(config: FairseqDataclass, *names: str) -> None:
    """Refuse numbers below 0."""
    for name in names:
        value = getattr(config, name)
        if value < 0:
            raise ValueError(f"{option_name(name)} must be at least 0, not {value}")


def check_heads(config: FairseqDataclass, width: str, heads: str) -> None:
    """Refuse a width that attention heads do not divide."""
    if getattr(config, width) % getattr(config, heads) != 0:
        raise ValueError(
            f"{option_name(width)} ({getattr(config, width)}) must be divisible by "
            f"{option_name(heads)} ({getattr(config, heads)}); change one of them"
        )


def check_probabilities(config: FairseqDataclass, *names: str) -> None:
    """Refuse what is no probability below 1."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0.0 <= value < 1.0:
            raise ValueError(
                f"{option_name(name)} is a probability: at least 0 and below 1, not {value}"
            )


def check_activation(config: FairseqDataclass) -> None:
    """Refuse an activation for a cell that would not hear of it."""
    default = type(config).activation_fn
    if str(config.activation_fn) != default and str(config.cell) not in CELLS_WITH_ACTIVATION:
        raise ValueError(
            f"--activation-fn {config.activation_fn} is for --cell "
            f"{', '.join(CELLS_WITH_ACTIVATION)}; --cell {config.cell} keeps its own "
            "nonlinearities, so leave --activation-fn out"
        )


def check_choices(config: FairseqDataclass, **choices: Sequence[str]) -> None:
    """Refuse what is not among the choices: configurations made in Python are not parsed."""
    for name, values in choices.items():
        value = str(getattr(config, name))
        if value not in values:
            raise ValueError(f"{option_name(name)} must be one of {tuple(values)}, not {value}")


def option_name(name: str) -> str:
    return "--" + name.replace("_", "-")
