"""Prepare raw text of one language for language models.

Learns a BPE (sentencepiece) on the training text, or with --words takes words as they are, and runs
fairseq-preprocess, whose option names are used. Each line of the text ends with </s>.

Example:
    fairseq-lrn prepare-lm --trainpref train.txt --validpref valid.txt --destdir data-bin/mine
"""

import argparse

from fairseq_lrn.commands.prepare_arguments import add_workers, options_of
from fairseq_lrn.data.bpe import DEFAULT_VOCAB_SIZE
from fairseq_lrn.data.prepare_monolingual import MonolingualOptions, prepare_monolingual

HELP = "prepare raw text for language models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--trainpref", required=True, metavar="FILE", help="training text")
    parser.add_argument("--validpref", metavar="FILE", help="validation text (default: none)")
    parser.add_argument("--testpref", metavar="FILE", help="test text (default: none)")
    parser.add_argument(
        "--destdir", required=True, metavar="DIR", help="directory to make; must not exist"
    )
    parser.add_argument(
        "--words",
        action="store_true",
        help="split words at white space, and keep all of them in the dictionary",
    )
    parser.add_argument(
        "--vocab-size",
        type=int,
        metavar="N",
        help=f"number of subwords (default: {DEFAULT_VOCAB_SIZE})",
    )
    parser.add_argument("--lowercase", action="store_true", help="lower-case the text")
    add_workers(parser)


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    prepare_monolingual(MonolingualOptions(**options_of(args, MonolingualOptions)))
