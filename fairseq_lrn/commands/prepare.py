"""Prepare a pair of raw text files for fairseq-train.

Moses normalisation and tokenisation, optional lower-casing, cleaning by length and ratio, joint
sentencepiece BPE, fairseq-preprocess. Option names are those of fairseq-preprocess.

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
    parser.add_argument("-s", "--source-lang", required=True, metavar="SRC")
    parser.add_argument("-t", "--target-lang", required=True, metavar="TRG")
    parser.add_argument("--trainpref", metavar="FP", help="training file prefix (FP.SRC, FP.TRG)")
    parser.add_argument("--validpref", metavar="FP", help="validation file prefix")
    parser.add_argument("--testpref", metavar="FP,...", help="test file prefixes, comma separated")
    parser.add_argument("--destdir", required=True, metavar="DIR", help="must not exist yet")
    parser.add_argument(
        "--vocab-size", type=int, default=8000, help="number of subwords, for both languages"
    )
    parser.add_argument(
        "--bpe-merges", type=int, metavar="N", help="BPE merges, instead of --vocab-size"
    )
    parser.add_argument(
        "--vocab-threshold",
        type=int,
        default=0,
        metavar="N",
        help="one dictionary per language, of subwords with at least N occurrences in it; rarer "
        "subwords are split further (default: one dictionary for both languages)",
    )
    parser.add_argument("--lowercase", action="store_true", help="lower-case both sides")
    parser.add_argument("--no-tokenize", action="store_true", help="the text is tokenised already")
    parser.add_argument("--max-length", type=int, default=175, metavar="N", help="in tokens")
    parser.add_argument("--max-ratio", type=float, default=3.0, metavar="R", help="of lengths")
    parser.add_argument(
        "--vocab-from", metavar="DIR", help="use the BPE and dictionaries of data prepared earlier"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    names = {field.name for field in dataclasses.fields(PrepareOptions)}
    options = {name: value for name, value in vars(args).items() if name in names}
    options["tokenize"] = not args.no_tokenize
    options["testpref"] = args.testpref.split(",") if args.testpref else []
    prepare(PrepareOptions(**options))
