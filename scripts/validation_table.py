#!/usr/bin/env python3
"""Print the validation losses of a fairseq-train log as a Markdown table."""

import argparse

from fairseq_lrn.analysis.training_log import validations
from fairseq_lrn.commands.entry import run
from training_results import validation_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", metavar="FILE", help="output of fairseq-train --log-format simple")
    print(validation_table(validations(parser.parse_args().log)))


if __name__ == "__main__":
    run(main)
