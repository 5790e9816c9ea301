#!/usr/bin/env python3
"""Print a table (Markdown) of runs: the lowest validation loss, BLEU, and the time of training.

Give directories that scripts/multi30k.sh or scripts/tatoeba.sh filled; others are passed over.
"""

import argparse

from fairseq_lrn.analysis import training_log
from fairseq_lrn.commands.entry import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", metavar="DIR", nargs="+")
    print(training_log.results_table(training_log.results(parser.parse_args().directories)))


if __name__ == "__main__":
    run(main)
