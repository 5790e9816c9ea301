#!/usr/bin/env python3
"""Print the validation losses of a fairseq-train log as a Markdown table."""

import argparse

from fairseq_lrn.analysis import training_log
from fairseq_lrn.commands.entry import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", metavar="FILE", help="output of fairseq-train --log-format simple")
    print(training_log.table(training_log.validations(parser.parse_args().log)))


if __name__ == "__main__":
    run(main)
