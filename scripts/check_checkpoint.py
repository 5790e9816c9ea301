#!/usr/bin/env python3
"""Check that checkpoints can be loaded. The exit status is 2 if one is damaged or unsafe."""

import argparse

from fairseq_lrn import checkpoints
from fairseq_lrn.commands.entry import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", metavar="FILE")
    for path in parser.parse_args().checkpoints:
        checkpoints.load(path)
        print(path, "can be loaded")


if __name__ == "__main__":
    run(main)
