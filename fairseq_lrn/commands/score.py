"""Score the output of fairseq-generate against a raw reference.

Prints the tokenised BLEU that fairseq-generate computed, then sacreBLEU and chrF of the detokenised
translations, with their signatures. Writes the detokenised translations to GENERATED.detok.

LANG is the target language (default: the suffix of REFERENCE). Options of sacreBLEU follow it and
apply to BLEU. For a model of lower-cased text, give -lc; it applies to chrF as well.
"""

import argparse
import subprocess
import sys
from typing import List

from fairseq_lrn.data.generate_output import read_translations
from fairseq_lrn.data.parallel import read_lines, write_lines
from fairseq_lrn.data.tokenization import Detokenizer
from fairseq_lrn.errors import InputError

HELP = "score the output of fairseq-generate (BLEU, chrF)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("generated", metavar="GENERATED", help="output of fairseq-generate")
    parser.add_argument(
        "reference", metavar="REFERENCE", help="raw reference, one sentence per line"
    )
    parser.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="[LANG] [options of sacreBLEU, e.g. -lc]",
    )


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    language, options = args.reference.rsplit(".", 1)[-1], list(args.options)
    if options and not options[0].startswith("-"):
        language = options.pop(0)
    translations = read_translations(args.generated)
    references = read_lines(args.reference)
    if len(translations) != len(references):
        raise InputError(
            f"{args.generated} has {len(translations)} translations, but {args.reference} has "
            f"{len(references)} lines: give the reference of the set that was generated, and "
            "generate with --required-batch-size-multiple 1 (otherwise fairseq leaves out the "
            "longest sentences)"
        )
    detokenize = Detokenizer(language)
    detokenized = f"{args.generated}.detok"
    write_lines(detokenized, [detokenize(sentence.hypothesis) for sentence in translations])
    with open(args.generated, encoding="utf-8") as file:
        print(*(line for line in file if line.startswith("Generate ")), sep="", end="", flush=True)
    _run_sacrebleu(args.reference, detokenized, "bleu", options)
    lowercase = ["--chrf-lowercase"] if "-lc" in options else []
    _run_sacrebleu(args.reference, detokenized, "chrf", lowercase)


def _run_sacrebleu(reference: str, hypotheses: str, metric: str, options: List[str]) -> None:
    """Print a score, computed by the command of sacreBLEU.

    Args:
        reference: file of the reference.
        hypotheses: file of the translations.
        metric: ``bleu`` or ``chrf``.
        options: further options of sacreBLEU.

    Raises:
        InputError: sacreBLEU fails; it has printed why.
    """
    command = [sys.executable, "-m", "sacrebleu", reference, "-i", hypotheses, "-m", metric]
    command += ["-w", "2", "--format", "text", *options]
    # Its output is printed here, so that a reader that ends, or Ctrl-C, causes no traceback there.
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    sys.stderr.write(result.stderr)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise InputError(
            f"sacreBLEU failed on {hypotheses} and {reference} with the options "
            f"'{' '.join(options)}': its own message is above"
        )
