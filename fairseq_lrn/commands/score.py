"""Score translations against a raw reference (BLEU, chrF), or with a model.

The translations are the output of fairseq-generate, or plain text with one translation per line, as
fairseq-lrn translate writes it.

Prints sacreBLEU and chrF, with their signatures. For output of fairseq-generate, first prints BLEU
as fairseq-generate computed it, and writes the raw translations to TRANSLATIONS.detok, detokenised
if the data are tokenised.

LANG is the target language (default: the suffix of REFERENCE). It chooses sacreBLEU's tokeniser: zh
for Chinese, ja-mecab and ko-mecab for Japanese and Korean if their packages are installed
(otherwise char), char for other languages that write no spaces, and 13a for the rest. Options of
sacreBLEU follow LANG, apply to BLEU, and take precedence. For a model of lower-cased text, give
-lc; it applies to chrF as well.

With --model, the arguments are a file of source sentences and a file of their translations, both
raw text with one sentence per line. Prints for each pair the log-probability (base 2) per token
that the model gives to the translation, as fairseq-generate --score-reference does, or nan for a
pair that is too long.

With --model and one file (-: standard input), the model is a language model. Prints for each line
its log-probability (base 2), </s> included. The log says how many tokens are unknown words, and the
perplexity of the lines one by one, and of all of them as one text. With --dynamic-evaluation TRAIN,
the log also says the perplexity of dynamic evaluation, in which the model, trained on the file
TRAIN, goes on learning from the text.
"""

import argparse
from typing import List

from fairseq_lrn.commands.model_arguments import MODEL_HELP, add_loading_arguments
from fairseq_lrn.commands.model_scores import (
    DYNAMIC_OPTIONS,
    given_dynamic_options,
    line_scores,
    pair_scores,
)
from fairseq_lrn.commands.reference_scores import score_against_reference
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.dynamic_evaluation import DynamicEvaluation, checked_options
from fairseq_lrn.options import option_name

HELP = "score translations (BLEU, chrF, or log-probabilities of a model)"

MODEL_OPTIONS = ("data", "device", "generation_dtype", "max_length")  # they need --model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "translations",
        metavar="TRANSLATIONS",
        help="output of fairseq-generate, or one translation per line; with --model the source",
    )
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        nargs="?",
        help="raw reference, one sentence per line; with --model the translations",
    )
    parser.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="[LANG] [options of sacreBLEU, e.g. -lc]",
    )
    parser.add_argument("--model", help=f"score with a model: {MODEL_HELP}")
    add_loading_arguments(parser)
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="with --model, longest source and longest translation to score, in subwords (default: "
        "10000, or what the model was built for if it is not recurrent)",
    )
    parser.add_argument(
        "--dynamic-evaluation",
        metavar="TRAIN",
        help="with a language model, evaluate it dynamically as well; TRAIN is its training text",
    )
    defaults = DynamicEvaluation()
    for name, meaning in DYNAMIC_OPTIONS.items():
        value = getattr(defaults, name)
        parser.add_argument(
            f"--dynamic-{name}",
            type=float,
            metavar="X",
            help=f"{meaning} of dynamic evaluation (default: {value})",
        )


def main(args: argparse.Namespace) -> None:
    """Run the command."""
    check_dynamic_options(args)
    if args.model is not None and args.options:
        raise InputError(
            f"remove {' '.join(args.options)}, or give it before the files: with --model, nothing "
            "follows them"
        )
    check_options_after_files(args.options)
    if args.model is None:
        if args.reference is None:
            raise InputError("give a reference, or --model with a language model")
        check_no_model_options(args)
        score_against_reference(args.translations, args.reference, args.options)
        return
    if args.reference is None:
        for scores in line_scores(args):
            print(*(f"{score:.4f}" for score in scores), sep="\n", flush=True)
        return
    for score in pair_scores(args):
        print(f"{score:.4f}")


def check_no_model_options(args: argparse.Namespace) -> None:
    """Refuse options of a model that was not given.

    Raises:
        InputError: names the option.
    """
    for name in MODEL_OPTIONS:
        if getattr(args, name) is not None:
            raise InputError(f"{option_name(name)} has no effect without --model: leave it out")


def check_dynamic_options(args: argparse.Namespace) -> None:
    """Refuse options of dynamic evaluation that would have no effect, or are out of range.

    Raises:
        InputError: names the option.
    """
    if args.dynamic_evaluation is not None and (args.model is None or args.reference is not None):
        raise InputError("--dynamic-evaluation is for language models: give --model and one file")
    for name in DYNAMIC_OPTIONS:
        if args.dynamic_evaluation is None and getattr(args, f"dynamic_{name}") is not None:
            raise InputError(f"--dynamic-{name} has no effect without --dynamic-evaluation")
    checked_options(given_dynamic_options(args))


def check_options_after_files(given: List[str]) -> None:
    """Refuse options of this command after the files, where those of sacreBLEU belong.

    Args:
        given: what follows the files.

    Raises:
        InputError: names the option.
    """
    names = ["model", *MODEL_OPTIONS, "dynamic_evaluation"]
    names += [f"dynamic_{name}" for name in DYNAMIC_OPTIONS]
    options = set(map(option_name, names))
    for option in (argument.split("=")[0] for argument in given):
        if option in options:
            raise InputError(
                f"{option} follows the files: give --model and its options before the files"
            )
