"""What the commands that prepare data share: processes, and options as a dataclass."""

import argparse
import dataclasses
import os
from typing import Any, Dict, Type


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the number of processes."""
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of processes (default: one per CPU, here %(default)s)",
    )


def options_of(args: argparse.Namespace, options: Type[Any]) -> Dict[str, Any]:
    """The arguments of a command that are fields of the dataclass *options*."""
    names = {field.name for field in dataclasses.fields(options)}
    return {name: value for name, value in vars(args).items() if name in names}
