"""What the commands that prepare data share."""

import argparse
from dataclasses import dataclass

from fairseq_lrn.commands.prepare_arguments import add_workers, options_of


@dataclass
class Options:
    workers: int
    kind: str = "text"


def test_workers_and_options():
    parser = argparse.ArgumentParser()
    add_workers(parser)
    assert parser.parse_args([]).workers >= 1
    args = parser.parse_args(["--workers", "3"])
    args.command = "prepare"  # of the main parser; no option
    assert options_of(args, Options) == {"workers": 3}
