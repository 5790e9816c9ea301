#!/usr/bin/env python3
"""Print a Markdown table of training runs: lowest validation loss, BLEU or perplexity, time.

DIR is the directory of a run of scripts/multi30k.sh, tatoeba.sh, ablations.sh, ptb.sh or
wikitext2.sh. Directories without a training log are skipped.

With --seeds, runs of translation models whose names differ in the seed alone (MODEL-SEED) share one
row, with the mean of each score and its range; a score that one of them lacks is left out. With
--best, prints only the name of the run with the lowest loss.
"""

import argparse

import training_results
from fairseq_lrn.commands.entry import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", metavar="DIR", nargs="+")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--seeds", action="store_true", help="one row for all seeds of a model")
    shape.add_argument("--best", action="store_true", help="print the name of the best run alone")
    args = parser.parse_args()
    results = training_results.results(args.directories)
    if args.best:
        print(training_results.best(results).name)
    elif args.seeds:
        print(training_results.seeds_table(results))
    else:
        print(training_results.results_table(results))


if __name__ == "__main__":
    run(main)
