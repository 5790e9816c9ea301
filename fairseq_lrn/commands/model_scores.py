"""Log-probabilities that a model gives to sentences, for ``fairseq-lrn score --model``."""

import argparse
import itertools
import logging
import math
from typing import Dict, Iterator, List

from fairseq_lrn.commands.model_arguments import load_model
from fairseq_lrn.commands.streams import blocks
from fairseq_lrn.commands.streams import read_lines as arriving_lines
from fairseq_lrn.data.parallel import text_lines
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.dynamic_evaluation import perplexity_of
from fairseq_lrn.generation.language_model import load_language_model
from fairseq_lrn.options import option_name

logger = logging.getLogger(__name__)

DYNAMIC_OPTIONS = {
    "lr": "learning rate",
    "decay": "rate of return to the trained weights",
    "epsilon": "number added to the root of squared gradients",
}
BLOCK = 512  # pairs or lines that are scored before their scores are printed


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


def given_dynamic_options(args: argparse.Namespace) -> Dict[str, float]:
    """The options of dynamic evaluation that were given, by their names."""
    options = {name: getattr(args, f"dynamic_{name}") for name in DYNAMIC_OPTIONS}
    return {name: value for name, value in options.items() if value is not None}
