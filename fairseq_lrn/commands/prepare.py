"""Prepare raw parallel text for fairseq-train.

The steps: Moses normalisation and tokenisation, optional lower-casing, cleaning by length and by
ratio of lengths, a joint BPE (sentencepiece), and fairseq-preprocess, whose option names are used.

Example:
    fairseq-lrn prepare --source-lang en --target-lang de \\
        --trainpref raw/train --validpref raw/val --testpref raw/test --destdir data-bin/mine
"""

import argparse
import dataclasses
import os

from fairseq_lrn.data.prepare import PrepareOptions, prepare

HELP = "prepare raw text for fairseq-train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("-s", "--source-lang", required=True, metavar="SRC", help="source language")
    parser.add_argument("-t", "--target-lang", required=True, metavar="TRG", help="target language")
    parser.add_argument("--trainpref", metavar="FP", help="training file prefix (FP.SRC, FP.TRG)")
    parser.add_argument("--validpref", metavar="FP", help="validation file prefix")
    parser.add_argument("--testpref", metavar="FP,...", help="test file prefixes, comma separated")
    parser.add_argument(
        "--destdir", required=True, metavar="DIR", help="directory to make; must not exist"
    )
    parser.add_argument(
        "--vocab-size",
        type=int,
        default=8000,
        metavar="N",
        help="number of subwords for both languages (default: %(default)s)",
    )
    parser.add_argument(
        "--bpe-merges", type=int, metavar="N", help="number of BPE merges, in place of --vocab-size"
    )
    parser.add_argument(
        "--vocab-threshold",
        type=int,
        default=0,
        metavar="N",
        help="make one dictionary per language, of the subwords that occur at least N times in it, "
        "and split rarer subwords (default: one dictionary for both languages)",
    )
    parser.add_argument("--lowercase", action="store_true", help="lower-case both sides")
    parser.add_argument("--no-tokenize", action="store_true", help="the text is already tokenised")
    parser.add_argument(
        "--max-length",
        type=int,
        default=175,
        metavar="N",
        help="longest training sentence, in tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--max-ratio",
        type=float,
        default=3.0,
        metavar="R",
        help="largest ratio of the lengths of a training pair (default: %(default)s)",
    )
    parser.add_argument(
        "--vocab-from", metavar="DIR", help="use the BPE and the dictionaries of earlier data"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of processes (default: one per CPU)",
    )


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    names = {field.name for field in dataclasses.fields(PrepareOptions)}
    options = {name: value for name, value in vars(args).items() if name in names}
    options["tokenize"] = not args.no_tokenize
    options["testpref"] = args.testpref.split(",") if args.testpref else []
    prepare(PrepareOptions(**options))
