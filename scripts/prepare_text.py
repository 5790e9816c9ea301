#!/usr/bin/env python3
"""Prepare a pair of raw text files for fairseq-train.

Moses normalisation and tokenisation, optional lower-casing, cleaning by length and ratio,
joint sentencepiece BPE, fairseq-preprocess. Option names are those of fairseq-preprocess.

Example:
    python scripts/prepare_text.py --source-lang en --target-lang de \\
        --trainpref raw/train --validpref raw/val --testpref raw/test --destdir data-bin/mine
"""

import argparse
import os

from fairseq_lrn.errors import run
from fairseq_lrn.data.prepare import PrepareOptions, prepare


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-s", "--source-lang", required=True, metavar="SRC")
    parser.add_argument("-t", "--target-lang", required=True, metavar="TRG")
    parser.add_argument("--trainpref", metavar="FP", help="training file prefix (FP.SRC, FP.TRG)")
    parser.add_argument("--validpref", metavar="FP", help="validation file prefix")
    parser.add_argument("--testpref", metavar="FP,...", help="test file prefixes, comma separated")
    parser.add_argument("--destdir", required=True, metavar="DIR", help="must not exist yet")
    parser.add_argument("--vocab-size", type=int, default=8000, help="BPE pieces, both languages")
    parser.add_argument(
        "--bpe-merges", type=int, metavar="N", help="BPE merges, instead of --vocab-size"
    )
    parser.add_argument(
        "--vocab-threshold",
        type=int,
        default=0,
        metavar="N",
        help="a dictionary for each language, of pieces that occur so often in it; rarer ones "
        "are segmented further (default: one dictionary for both)",
    )
    parser.add_argument("--lowercase", action="store_true", help="lower-case both sides")
    parser.add_argument("--no-tokenize", action="store_true", help="text is tokenised already")
    parser.add_argument("--max-length", type=int, default=175, metavar="N", help="tokens")
    parser.add_argument("--max-ratio", type=float, default=3.0, metavar="R", help="of lengths")
    parser.add_argument(
        "--vocab-from", metavar="DIR", help="use the BPE and dictionaries of data prepared earlier"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    args = vars(parser.parse_args())
    args["tokenize"] = not args.pop("no_tokenize")
    args["testpref"] = args["testpref"].split(",") if args["testpref"] else []
    prepare(PrepareOptions(**args))


if __name__ == "__main__":
    run(main)
