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
import codecs
import itertools
import logging
import math
import os
import shutil
import stat
import sys
import tempfile
from typing import Dict, Iterator, List

from fairseq_lrn.commands.model_arguments import MODEL_HELP, add_loading_arguments, load_model
from fairseq_lrn.commands.streams import blocks
from fairseq_lrn.commands.streams import read_lines as arriving_lines
from fairseq_lrn.data.generate_output import (
    is_generate_output,
    moses_rules_of,
    read_translations,
)
from fairseq_lrn.data.languages import bleu_tokenizer
from fairseq_lrn.data.parallel import read_lines, text_lines, write_lines
from fairseq_lrn.data.run_module import run_module
from fairseq_lrn.data.tokenization import Detokenizer
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.dynamic_evaluation import (
    DynamicEvaluation,
    checked_options,
    perplexity_of,
)
from fairseq_lrn.generation.language_model import load_language_model
from fairseq_lrn.options import option_name

logger = logging.getLogger(__name__)

HELP = "score translations (BLEU, chrF, or log-probabilities of a model)"

DYNAMIC_OPTIONS = {
    "lr": "learning rate",
    "decay": "rate of return to the trained weights",
    "epsilon": "number added to the root of squared gradients",
}
MODEL_OPTIONS = ("data", "device", "generation_dtype", "max_length")  # they need --model
BLOCK = 512  # pairs or lines that are scored before their scores are printed


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
        score_against_reference(args)
        return
    if args.reference is None:
        for scores in line_scores(args):
            print(*(f"{score:.4f}" for score in scores), sep="\n", flush=True)
        return
    for score in pair_scores(args):
        print(f"{score:.4f}")


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


def given_dynamic_options(args: argparse.Namespace) -> Dict[str, float]:
    """The options of dynamic evaluation that were given, by their names."""
    options = {name: getattr(args, f"dynamic_{name}") for name in DYNAMIC_OPTIONS}
    return {name: value for name, value in options.items() if value is not None}


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


def score_against_reference(args: argparse.Namespace) -> None:
    """Print BLEU and chrF.

    Args:
        args: arguments of the command.

    Raises:
        InputError: an option has no effect, a file cannot be used, or sacreBLEU fails.
    """
    for name in MODEL_OPTIONS:
        if getattr(args, name) is not None:
            raise InputError(f"{option_name(name)} has no effect without --model: leave it out")
    for path in (args.translations, args.reference):
        if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            raise InputError(f"{path} is a pipe, and it is read several times: give a file")
    language, options = args.reference.rsplit(".", 1)[-1], list(args.options)
    if options and not options[0].startswith("-"):
        language = options.pop(0)
    hypotheses = args.translations
    if is_generate_output(args.translations):
        hypotheses = f"{args.translations}.detok"
        write_lines(hypotheses, read_generated(args.translations, args.reference, language))
        with open(args.translations, encoding="utf-8") as file:
            bleu = [line for line in file if line.startswith("Generate ")]
        print(*bleu, sep="", end="", flush=True)
    else:
        check_plain_translations(args.translations, args.reference)
    _run_sacrebleu(args.reference, hypotheses, "bleu", [*tokenizer(language, options), *options])
    lowercase = ["--chrf-lowercase"] if {"-lc", "--lowercase"} & set(options) else []
    _run_sacrebleu(args.reference, hypotheses, "chrf", lowercase)


def pair_scores(args: argparse.Namespace) -> Iterator[float]:
    """The score that a model gives to each pair of sentences, and their mean in the log.

    Args:
        args: arguments of the command.

    Raises:
        InputError: an option has an invalid value, the model or a file cannot be used, or the
            numbers of lines differ.
    """
    translator = load_model(args)
    pairs = itertools.zip_longest(text_lines(args.translations), text_lines(args.reference))
    total, done, unscored = 0.0, 0, 0
    while block := list(itertools.islice(pairs, BLOCK)):
        sources, targets = zip(*block)
        if None in sources + targets:  # one file has ended
            shorter = args.translations if None in sources else args.reference
            raise InputError(
                f"{shorter} has fewer lines than the other file: give one translation for each "
                "source sentence"
            )
        options = {"first_number": done + 1, "max_length": args.max_length}
        for translation in translator.score(sources, targets, **options):
            if math.isnan(translation.score):
                unscored += 1
            else:
                total += translation.score
            yield translation.score
        done += len(block)
    too_long = f", {unscored} too long" if unscored else ""
    logger.info("%d pairs%s, mean %.4f", done, too_long, total / max(done - unscored, 1))


def line_scores(args: argparse.Namespace) -> Iterator[List[float]]:
    """The score that a language model gives to each line, and perplexities in the log.

    Yields the scores of a block of lines, which ends early where the input pauses.

    Args:
        args: arguments of the command.

    Raises:
        InputError: an option has no effect, or the model or the file cannot be used.
    """
    for name in ("generation_dtype", "max_length"):
        if getattr(args, name) is not None:
            raise InputError(
                f"{option_name(name)} has no effect with a language model: leave it out"
            )
    training_text = args.dynamic_evaluation and list(text_lines(args.dynamic_evaluation))
    model = load_language_model(args.model, data=args.data, device=args.device)
    lines: List[str] = []
    total, tokens, unknown = 0.0, 0, 0
    for _, block in blocks(arriving_lines([args.translations]), BLOCK):
        scores = model.score(block, progress=False)
        total += sum(scores)
        yield scores
        lines += block
        for line_tokens, line_unknown in map(model.count_tokens, block):
            tokens, unknown = tokens + line_tokens, unknown + line_unknown
    if not lines:
        raise InputError(f"{args.translations} is empty: give a file with at least one line")
    logger.info(
        "%d of %d tokens (%.1f%%) are unknown words", unknown, tokens, 100 * unknown / tokens
    )
    logger.info(
        "%d lines, %d tokens, perplexity %.2f of the lines one by one, %.2f of the whole text",
        *(
            len(lines),
            tokens,
            perplexity_of(-total / tokens * math.log(2)),
            model.perplexity(lines),
        ),
    )
    if args.dynamic_evaluation is not None:
        found = model.dynamic_perplexity(lines, training_text, **given_dynamic_options(args))
        logger.info("dynamic evaluation: perplexity %.2f", found)


def read_generated(path: str, reference: str, language: str) -> List[str]:
    """The raw text of the translations in the output of fairseq-generate.

    Args:
        path: output of fairseq-generate.
        reference: file of the raw reference.
        language: the target language.

    Raises:
        InputError: the output cannot be used, or has another number of sentences.
    """
    translations, references = read_translations(path), read_lines(reference)
    if len(translations) != len(references):
        raise InputError(
            f"{path} has {len(translations)} translations, but {reference} has "
            f"{len(references)} lines: give the reference of the set that was generated; if it is, "
            "fairseq left sentences out, so generate again with --user-dir fairseq_lrn and without "
            "--skip-invalid-size-inputs-valid-test"
        )
    rules = moses_rules_of(translations, references, language)
    if rules is None:
        logger.info("the data are not tokenised, so the translations need no detokenisation")
    else:
        logger.info("the translations are detokenised with Moses's rules for %s", rules)
    detokenize = Detokenizer(rules)
    return [detokenize(sentence.hypothesis) for sentence in translations]


def check_plain_translations(path: str, reference: str) -> None:
    """Check that a file has one translation per line, as many as the reference has lines.

    Args:
        path: the file.
        reference: file of the raw reference.

    Raises:
        InputError: the file has columns, or another number of lines.
    """
    count, expected = len(read_lines(path)), len(read_lines(reference))
    if count != expected:
        raise InputError(
            f"{path} has {count} lines, but {reference} has {expected}: give complete output of "
            "fairseq-generate, or one translation per line"
        )
    if all(line.startswith(f"{number}\t") for number, line in enumerate(text_lines(path))):
        raise InputError(f"{path} has columns: translate without --nbest, --scores and --alignment")


def tokenizer(language: str, options: List[str]) -> List[str]:
    """The option that chooses sacreBLEU's tokeniser by language, unless there is one already.

    Args:
        language: the target language.
        options: options of sacreBLEU.
    """
    names = [option.split("=")[0] for option in options]
    if any(name == "-tok" or name.startswith("--tok") for name in names):
        return []
    chosen = bleu_tokenizer(language)
    logger.info("BLEU: sacreBLEU's tokeniser %s, for the language '%s'", chosen, language)
    return ["-tok", chosen]


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
    with tempfile.TemporaryDirectory() as directory:
        right, given = (_without_mark(path, directory) for path in (reference, hypotheses))
        command = [right, "-i", given, "-m", metric, "-w", "2", "--format", "text", *options]
        # Its output is printed here, so that a reader that ends, or Ctrl-C, causes no traceback
        # there.
        result = run_module("sacrebleu", command)
    sys.stderr.write(result.stderr)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise InputError(
            f"sacreBLEU failed on {hypotheses} and {reference} with the options "
            f"'{' '.join(options)}': its own message is above"
        )


def _without_mark(path: str, directory: str) -> str:
    """The file *path*, or if it begins with a byte-order mark, a copy in *directory* without it.

    sacreBLEU takes the mark for a part of the first word.
    """
    with open(path, "rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            return os.path.join(os.curdir, path)  # or "-x" would be an option
        with tempfile.NamedTemporaryFile(dir=directory, delete=False) as copy:
            shutil.copyfileobj(file, copy)
    return copy.name
