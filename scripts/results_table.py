#!/usr/bin/env python3
"""Print a Markdown table of training runs: lowest validation loss, BLEU or perplexity, time.

DIR is the directory of a run of scripts/multi30k.sh, tatoeba.sh, ablations.sh, ptb.sh or
wikitext2.sh. Directories without a training log are skipped.
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
