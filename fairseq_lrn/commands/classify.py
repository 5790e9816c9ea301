"""Classify raw text, one text per line; for a model of pairs, two texts separated by a tab.

Reads standard input unless files are given. Writes one line per text, with columns separated by
tabs: the label and its probability; with --all, the other labels and their probabilities, too. With
--json, writes one JSON object per text.
"""

import argparse
import json
from functools import partial
from typing import Any, List

from fairseq_lrn.commands.model_arguments import add_data_and_device
from fairseq_lrn.commands.streams import (
    Line,
    add_stream_arguments,
    blocks,
    check_stream_arguments,
    output_file,
    read_lines,
    text_of,
    two_texts,
    with_progress,
)
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.classifier import Classification, load_classifier

HELP = "classify raw text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_labelling_arguments(parser)
    parser.add_argument(
        "--all", action="store_true", help="write all labels, the most probable one first"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="write JSON lines, with the words and their weights in the pooling",
    )


def add_labelling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that all commands of labelled text share."""
    parser.add_argument("model", metavar="MODEL", help="directory of checkpoints, or a checkpoint")
    add_stream_arguments(parser, batch_size=32)
    add_data_and_device(parser)


def main(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        InputError: an option has an invalid value, the model or the input cannot be used, or the
            output cannot be written.
    """
    check_stream_arguments(args)
    classifier = load_classifier(args.model, data=args.data, device=args.device)
    is_pair = classifier.text.kind == "pair"
    parse = partial(sample_of, is_pair=is_pair)
    with output_file(args.output) as file:
        for first, texts in with_progress(
            blocks(read_lines(args.files), args.buffer_size, parse), args
        ):
            found = classifier(
                texts, batch_size=args.batch_size, first_number=first, progress=False
            )
            for text, result in zip(texts, found):
                print(as_json(text, result) if args.json else columns(result, args.all), file=file)
            file.flush()


def sample_of(line: Line, is_pair: bool) -> Any:
    """The text or the pair of texts on a line.

    Raises:
        InputError: a line of a pair does not have one tab, or the line of a single text has one.
    """
    if not is_pair:
        fields = text_of(line).split("\t")
        if len(fields) > 1:
            raise InputError(
                f"{line.place} has {len(fields)} fields between tabs, and the model reads one "
                "text: remove labels (cut -f 2), or replace the tabs by spaces"
            )
        return fields[0]
    return two_texts(line, "two texts", "the model reads pairs")


def columns(result: Classification, all_labels: bool) -> str:
    """The label and its probability; with *all_labels*, those of the other labels after it."""
    ranked = list(result.probabilities.items())
    shown = ranked if all_labels else ranked[:1]
    fields: List[str] = []
    for label, probability in shown:
        fields += [label, f"{probability:.4f}"]
    return "\t".join(fields)


def as_json(text: Any, result: Classification) -> str:
    """A text and its classification as JSON on one line."""
    return json.dumps({"text": text, **result._asdict()}, ensure_ascii=False)
