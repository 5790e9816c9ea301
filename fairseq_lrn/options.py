"""Names and values of options of the command line."""

from typing import Optional

from fairseq_lrn.errors import InputError


def option_name(name: str) -> str:
    """The option on the command line for the field *name* of a configuration."""
    return "--" + name.replace("_", "-")


def check_minimum(minimum: float, **values: Optional[float]) -> None:
    """Refuse values below a minimum, and those that are not a number (nan).

    Args:
        minimum: the smallest value allowed.
        **values: values by the names of their fields; None stands for a default and passes.

    Raises:
        InputError: names the option.
    """
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise InputError(f"{option_name(name)} must be at least {minimum}, not {value}")
