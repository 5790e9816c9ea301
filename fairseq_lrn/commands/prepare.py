"""Prepare raw parallel text for fairseq-train.

The steps: optional tokenisation with Moses (of languages that Moses has rules for), optional
lower-casing, cleaning by length and by ratio of lengths, a joint BPE (sentencepiece), and
fairseq-preprocess, whose option names are used.

Example:
    fairseq-lrn prepare --source-lang en --target-lang de \\
        --trainpref raw/train --validpref raw/val --testpref raw/test --destdir data-bin/mine
"""

import argparse

from fairseq_lrn.commands.prepare_arguments import add_workers, options_of
from fairseq_lrn.data.bpe import DEFAULT_VOCAB_SIZE
from fairseq_lrn.data.languages import DEFAULT_TOKENIZER, NONE, TOKENIZERS
from fairseq_lrn.data.prepare import PrepareOptions, prepare

HELP = "prepare raw text for fairseq-train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    defaults = PrepareOptions("", "")
    parser.add_argument(
        "-s", "--source-lang", required=True, metavar="SRC", help="source language, e.g. en-GB"
    )
    parser.add_argument("-t", "--target-lang", required=True, metavar="TRG", help="target language")
    parser.add_argument(
        "--trainpref",
        metavar="FP",
        help="training file prefix (FP.SRC, FP.TRG) (default: none, which needs --vocab-from)",
    )
    parser.add_argument(
        "--validpref", metavar="FP", help="validation file prefix (default: no validation set)"
    )
    parser.add_argument(
        "--testpref",
        metavar="FP,...",
        help="test file prefixes, comma separated (default: no test set)",
    )
    parser.add_argument(
        "--destdir", required=True, metavar="DIR", help="directory to make; must not exist"
    )
    parser.add_argument(
        "--vocab-size",
        type=int,
        metavar="N",
        help=f"number of subwords for both languages (default: {DEFAULT_VOCAB_SIZE}, or as in "
        "--vocab-from)",
    )
    parser.add_argument(
        "--bpe-merges",
        type=int,
        metavar="N",
        help="number of BPE merges, in place of --vocab-size (default: none)",
    )
    parser.add_argument(
        "--vocab-threshold",
        type=int,
        default=defaults.vocab_threshold,
        metavar="N",
        help="make one dictionary per language, of the subwords that occur at least N times in it, "
        "and split rarer subwords (default: %(default)s, one dictionary for both languages)",
    )
    parser.add_argument(
        "--lowercase", action="store_true", help="lower-case both sides (default: keep the case)"
    )
    tokenizer = parser.add_mutually_exclusive_group()
    tokenizer.add_argument(
        "--tokenizer",
        choices=TOKENIZERS,
        help="none: learn subwords on the text as it is (only white space is normalised); moses: "
        "normalise and tokenise the languages that Moses has rules for "
        f"(default: {DEFAULT_TOKENIZER}, or as in --vocab-from)",
    )
    tokenizer.add_argument(
        "--no-tokenize",
        dest="tokenizer",
        action="store_const",
        const=NONE,
        help="the same as --tokenizer none, e.g. for text that is tokenised already",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        default=defaults.max_length,
        metavar="N",
        help="longest training sentence, in words (default: %(default)s)",
    )
    parser.add_argument(
        "--max-ratio",
        type=float,
        default=defaults.max_ratio,
        metavar="R",
        help="largest ratio of the lengths of a training pair (default: %(default)s)",
    )
    parser.add_argument(
        "--vocab-from",
        metavar="DIR",
        help="use the BPE and the dictionaries of earlier data (default: make new ones)",
    )
    add_workers(parser)


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    options = options_of(args, PrepareOptions)
    options["testpref"] = [] if args.testpref is None else args.testpref.split(",")
    prepare(PrepareOptions(**options))
