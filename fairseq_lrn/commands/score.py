"""Score the output of fairseq-generate against a raw reference.

Prints tokenised BLEU as computed by fairseq-generate, then sacreBLEU and chrF of the detokenised
translations, with their signatures. LANG is the target language (default: the suffix of REFERENCE).
Options of sacreBLEU's BLEU follow; give -lc for a model of lower-cased text (it applies to chrF as
well). The detokenised translations are written to GENERATED.detok.
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
    parser.add_argument("reference", metavar="REFERENCE", help="raw reference, one line each")
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, metavar="...", help="[LANG] [options of sacreBLEU]"
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
    """Print a score with sacreBLEU's own command.

    Raises:
        InputError: sacreBLEU refuses its options or input; it has printed why.
    """
    command = [sys.executable, "-m", "sacrebleu", reference, "-i", hypotheses, "-m", metric]
    status = subprocess.run([*command, "-w", "2", "--format", "text", *options]).returncode
    if status != 0:
        raise InputError(f"sacreBLEU failed with options {' '.join(options) or '(none)'}")
